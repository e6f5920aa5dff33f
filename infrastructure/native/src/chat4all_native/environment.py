"""The environment every Chat4All process is given: where the engines and the other processes are, and the secrets."""

from __future__ import annotations

from chat4all_native.engines import mongodb, postgres, s3
from chat4all_native.layout import Layout
from chat4all_native.ports import HOST, PortBlock

ISSUER = "https://auth.chat4all.local"
AUDIENCE = "chat4all-api"
_GRPC_SERVERS = ("auth", "conversation", "message", "presence", "file")


def connections(layout: Layout, ports: PortBlock) -> dict[str, str]:
    """Addresses and secrets that are the same for all processes, and what a test or tool needs to reach this copy."""
    secrets = layout.secrets()
    return {
        "CHAT4ALL_KAFKA__BOOTSTRAP_SERVERS": ports.address("kafka"),
        "CHAT4ALL_POSTGRES__DSN": (
            f"postgresql://{postgres.USER}:{secrets.postgres_password}@{ports.address('postgres')}/{postgres.DATABASE}"
        ),
        "CHAT4ALL_MONGO__URI": f"mongodb://{ports.address('mongodb')}/?replicaSet={mongodb.REPLICA_SET}",
        "CHAT4ALL_MONGO__DATABASE": "chat4all",
        "CHAT4ALL_REDIS__URL": f"redis://:{secrets.redis_password}@{ports.address('redis')}/0",
        "CHAT4ALL_ETCD__ENDPOINT": ports.address("etcd"),
        "CHAT4ALL_S3__ENDPOINT": f"http://{ports.address('s3')}",
        "CHAT4ALL_S3__ACCESS_KEY": secrets.s3_access_key,
        "CHAT4ALL_S3__SECRET_KEY": secrets.s3_secret_key,
        "CHAT4ALL_S3__BUCKET": s3.BUCKET,
        "CHAT4ALL_S3__REGION": s3.REGION,
        "CHAT4ALL_INTERNAL__SECRET": secrets.internal_secret,
        "CHAT4ALL_TOKENS__JWKS_URL": f"http://{HOST}:{ports.port('auth-http')}/.well-known/jwks.json",
        "CHAT4ALL_TOKENS__ISSUER": ISSUER,
        "CHAT4ALL_TOKENS__AUDIENCE": AUDIENCE,
        **{f"CHAT4ALL_{name.upper()}__TARGET": ports.address(f"{name}-grpc") for name in _GRPC_SERVERS},
        "CHAT4ALL_WEBSOCKET__TARGET": ports.address("websocket"),
    }
