"""Certificates for tests."""

from pathlib import Path

import trustme


class Mount:
    """A secret as Kubernetes mounts it: files are links through a link that is swapped."""

    def __init__(self, folder: Path, authority: trustme.CA) -> None:
        folder.mkdir()
        self.folder = folder
        self.cert, self.key = folder / "tls.crt", folder / "tls.key"
        self._number = 0
        for file in (self.cert, self.key):
            file.symlink_to(Path("..data", file.name))
        self.issue(authority)

    def issue(self, authority: trustme.CA) -> trustme.LeafCert:
        """Renew certificate and key atomically."""
        leaf = authority.issue_cert("localhost", "127.0.0.1")
        self.put(leaf.cert_chain_pems[0].bytes(), leaf.private_key_pem.bytes())
        return leaf

    def put(self, cert: bytes, key: bytes) -> None:
        self._number += 1
        content = self.folder / f"..{self._number}"
        content.mkdir()
        (content / "tls.crt").write_bytes(cert)
        (content / "tls.key").write_bytes(key)
        swapped = self.folder / "..swapped"
        swapped.symlink_to(content.name)
        swapped.replace(self.folder / "..data")

    @property
    def arguments(self) -> tuple[object, ...]:
        return "--tls-cert-file", self.cert, "--tls-key-file", self.key
