"""Strict schemas of the custom resources in deploy/: the fields that are used here, and no others.

Written from the operators' API references; a field that is new here is looked up there first.
"""

from typing import Any

Schema = dict[str, Any]


def _object(*required: str, **properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


_TEXT: Schema = {"type": "string"}
_TEXTS: Schema = {"type": "object", "additionalProperties": _TEXT}
_DURATION: Schema = {"type": "string", "pattern": r"^(\d+h)?(\d+m)?(\d+s)?$", "minLength": 2}
_METADATA = _object("name", name=_TEXT, namespace=_TEXT, labels=_TEXTS, annotations=_TEXTS)


def _resource(spec: Schema) -> Schema:
    return _object(
        *("apiVersion", "kind", "metadata", "spec"),
        apiVersion=_TEXT,
        kind=_TEXT,
        metadata=_METADATA,
        spec=spec,
    )


_FORMAT = {"name": _TEXT, "version": _TEXT}

SCHEMAS: dict[tuple[str, str], Schema] = {
    ("monitoring.coreos.com/v1", "ServiceMonitor"): _resource(
        _object(
            *("selector", "endpoints"),
            selector=_object("matchLabels", matchLabels=_TEXTS),
            endpoints={
                "type": "array",
                "items": _object("port", port=_TEXT, interval=_DURATION, scrapeTimeout=_DURATION, path=_TEXT),
            },
        )
    ),
    ("monitoring.coreos.com/v1", "PrometheusRule"): _resource(
        _object(
            "groups",
            groups={
                "type": "array",
                "items": _object(
                    *("name", "rules"),
                    name=_TEXT,
                    rules={
                        "type": "array",
                        "items": {
                            "oneOf": [
                                _object("record", "expr", record=_TEXT, expr=_TEXT),
                                _object(
                                    *("alert", "expr"),
                                    alert=_TEXT,
                                    expr=_TEXT,
                                    **{"for": _DURATION},
                                    labels=_TEXTS,
                                    annotations=_TEXTS,
                                ),
                            ]
                        },
                    },
                ),
            },
        )
    ),
    ("keda.sh/v1alpha1", "ScaledObject"): _resource(
        _object(
            *("scaleTargetRef", "triggers"),
            scaleTargetRef=_object("name", name=_TEXT),
            minReplicaCount={"type": "integer"},
            maxReplicaCount={"type": "integer"},
            triggers={
                "type": "array",
                "items": _object(
                    *("type", "metadata"),
                    type={"enum": ["cpu", "prometheus"]},
                    metricType={"enum": ["AverageValue", "Value", "Utilization"]},
                    metadata=_TEXTS,
                ),
            },
        )
    ),
    ("cert-manager.io/v1", "Issuer"): _resource(
        {
            "oneOf": [
                _object("selfSigned", selfSigned=_object()),
                _object("ca", ca=_object("secretName", secretName=_TEXT)),
            ]
        }
    ),
    ("cert-manager.io/v1", "Certificate"): _resource(
        _object(
            *("secretName", "issuerRef"),
            secretName=_TEXT,
            issuerRef=_object("name", kind={"enum": ["Issuer", "ClusterIssuer"]}, name=_TEXT),
            isCA={"type": "boolean"},
            commonName={"type": "string", "maxLength": 64},
            dnsNames={"type": "array", "items": _TEXT},
            usages={"type": "array", "items": {"enum": ["server auth", "client auth"]}},
            duration=_DURATION,
            renewBefore=_DURATION,
            privateKey=_object(
                algorithm={"enum": ["RSA", "ECDSA", "Ed25519"]},
                size={"enum": [256, 384, 521]},
                rotationPolicy={"enum": ["Never", "Always"]},
            ),
        )
    ),
    ("trainer.kubeflow.org/v1alpha1", "TrainingRuntime"): _resource(
        _object(
            "template",
            mlPolicy=_object(numNodes={"type": "integer"}),
            template=_object(
                "spec",
                spec=_object(
                    "replicatedJobs",
                    replicatedJobs={
                        "type": "array",
                        "items": _object(
                            *("name", "template"),
                            name=_TEXT,
                            template=_object(
                                "spec",
                                metadata=_object(labels=_TEXTS),
                                # A Job's, which tests give to Kubernetes' own schema.
                                spec={"type": "object"},
                            ),
                        ),
                    },
                ),
            ),
        )
    ),
    ("trainer.kubeflow.org/v1alpha1", "TrainJob"): _resource(
        _object("runtimeRef", runtimeRef=_object("name", apiGroup=_TEXT, kind=_TEXT, name=_TEXT))
    ),
    ("serving.kserve.io/v1alpha1", "ClusterServingRuntime"): _resource(
        _object(
            *("supportedModelFormats", "protocolVersions", "containers"),
            supportedModelFormats={
                "type": "array",
                "items": _object("name", **_FORMAT, autoSelect={"type": "boolean"}),
            },
            protocolVersions={
                "type": "array",
                "items": {"enum": ["v1", "v2", "grpc-v1", "grpc-v2"]},
            },
            # Containers of Kubernetes itself; the tests of pods look into them.
            containers={"type": "array", "minItems": 1},
        )
    ),
    ("serving.kserve.io/v1beta1", "InferenceService"): _resource(
        _object(
            "predictor",
            predictor=_object(
                "model",
                minReplicas={"type": "integer"},
                maxReplicas={"type": "integer"},
                model=_object(
                    *("modelFormat", "storageUri"),
                    runtime=_TEXT,
                    modelFormat=_object("name", **_FORMAT),
                    protocolVersion=_TEXT,
                    storageUri={"type": "string", "pattern": r"^(pvc|s3|gs|https?)://"},
                ),
            ),
        )
    ),
}
