"""Strict schemas of the custom resources in deploy/: the fields that are used here, and no others.

Written from the operators' API references; a field that is new here is looked up there first.
"""

from typing import Any

Schema = dict[str, Any]


class Rule(Schema):
    """The JSON schema of a field that has no fields of its own."""


def one_of(*values: str | int) -> Rule:
    return Rule(enum=list(values))


TEXT = Rule(type="string")
TEXTS = Rule(type="object", additionalProperties=TEXT)
INTEGER = Rule(type="integer")
BOOLEAN = Rule(type="boolean")
DURATION = Rule(type="string", pattern=r"^(\d+h)?(\d+m)?(\d+s)?$", minLength=2)
FORMAT = {"name!": TEXT, "version": TEXT}

METADATA = {"name!": TEXT, "namespace": TEXT, "labels": TEXTS, "annotations": TEXTS}
# Specs as resources have them; `!` marks required fields, [...] lists of such elements, (...) alternatives.
SPECS: dict[tuple[str, str], Any] = {
    ("monitoring.coreos.com/v1", "ServiceMonitor"): {
        "selector!": {"matchLabels!": TEXTS},
        "endpoints!": [{"port!": TEXT, "interval": DURATION, "scrapeTimeout": DURATION, "path": TEXT}],
    },
    ("monitoring.coreos.com/v1", "PrometheusRule"): {
        "groups!": [
            {
                "name!": TEXT,
                "rules!": [
                    (
                        {"record!": TEXT, "expr!": TEXT},
                        {
                            "alert!": TEXT,
                            "expr!": TEXT,
                            "for": DURATION,
                            "labels": TEXTS,
                            "annotations": TEXTS,
                        },
                    )
                ],
            }
        ]
    },
    ("keda.sh/v1alpha1", "ScaledObject"): {
        "scaleTargetRef!": {"name!": TEXT},
        "minReplicaCount": INTEGER,
        "maxReplicaCount": INTEGER,
        "triggers!": [
            {
                "type!": one_of("cpu", "prometheus"),
                "metricType": one_of("AverageValue", "Value", "Utilization"),
                "metadata!": TEXTS,
            }
        ],
    },
    ("cert-manager.io/v1", "Issuer"): ({"selfSigned!": {}}, {"ca!": {"secretName!": TEXT}}),
    ("cert-manager.io/v1", "Certificate"): {
        "secretName!": TEXT,
        "issuerRef!": {"kind": one_of("Issuer", "ClusterIssuer"), "name!": TEXT},
        "isCA": BOOLEAN,
        "commonName": Rule(type="string", maxLength=64),
        "dnsNames": [TEXT],
        "usages": [one_of("server auth", "client auth")],
        "duration": DURATION,
        "renewBefore": DURATION,
        "privateKey": {
            "algorithm": one_of("RSA", "ECDSA", "Ed25519"),
            "size": one_of(256, 384, 521),
            "rotationPolicy": one_of("Never", "Always"),
        },
    },
    ("trainer.kubeflow.org/v1alpha1", "TrainingRuntime"): {
        "mlPolicy": {"numNodes": INTEGER},
        "template!": {
            "spec!": {
                "replicatedJobs!": [
                    {
                        "name!": TEXT,
                        # The spec is a Job's, which tests give to Kubernetes' own schema.
                        "template!": {"metadata": {"labels": TEXTS}, "spec!": Rule(type="object")},
                    }
                ]
            }
        },
    },
    ("trainer.kubeflow.org/v1alpha1", "TrainJob"): {
        "runtimeRef!": {"apiGroup": TEXT, "kind": TEXT, "name!": TEXT}
    },
    ("serving.kserve.io/v1alpha1", "ClusterServingRuntime"): {
        "supportedModelFormats!": [{**FORMAT, "autoSelect": BOOLEAN}],
        "protocolVersions!": [one_of("v1", "v2", "grpc-v1", "grpc-v2")],
        # Containers of Kubernetes itself; the tests of pods look into them.
        "containers!": Rule(type="array", minItems=1),
    },
    ("serving.kserve.io/v1beta1", "InferenceService"): {
        "predictor!": {
            "minReplicas": INTEGER,
            "maxReplicas": INTEGER,
            "model!": {
                "runtime": TEXT,
                "modelFormat!": FORMAT,
                "protocolVersion": TEXT,
                "storageUri!": Rule(type="string", pattern=r"^(pvc|s3|gs|https?)://"),
            },
        }
    },
}


def schema(shape: Any) -> Schema:
    """Return the JSON schema of what SPECS describe."""
    match shape:
        case Rule():
            return shape
        case tuple():
            return {"oneOf": [schema(each) for each in shape]}
        case list():
            return {"type": "array", "items": schema(*shape)}
    return {
        "type": "object",
        "properties": {name.removesuffix("!"): schema(each) for name, each in shape.items()},
        "required": [name.removesuffix("!") for name in shape if name.endswith("!")],
        "additionalProperties": False,
    }


SCHEMAS = {
    kind: schema({"apiVersion!": TEXT, "kind!": TEXT, "metadata!": METADATA, "spec!": spec})
    for kind, spec in SPECS.items()
}
