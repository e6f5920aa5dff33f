"""Metrics of the gateway. Labels have few values, never an id."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from chat4all_runtime.metrics import LATENCY_BUCKETS

sockets = Gauge("chat4all_gateway_sockets", "Sockets that are open, signed in or not.")
feeds = Gauge("chat4all_gateway_feeds", "Conversations followed because a socket here is in them.")
redis_connected = Gauge("chat4all_gateway_redis_connected", "1 while the live connection to Redis is proved alive.")
redis_reconnects = Counter("chat4all_gateway_redis_reconnects_total", "Live connections to Redis that were lost or found deaf.")
deliveries = Counter("chat4all_gateway_deliveries_total", "Event frames handed to sockets.")
lines_refused = Counter("chat4all_gateway_lines_refused_total", "Lines from Redis that could not be read.")
gap_fills = Counter("chat4all_gateway_gap_fills_total", "Holes in a feed filled from the log.", ["found_by"])
replays = Counter("chat4all_gateway_replays_total", "Answers to cursors.", ["outcome"])
closes = Counter("chat4all_gateway_closes_total", "Sockets closed by the gateway.", ["code"])
frames = Counter("chat4all_gateway_frames_total", "Frames from clients.", ["type"])
frame_errors = Counter("chat4all_gateway_frame_errors_total", "Faulty frames from clients.", ["reason"])
sends = Counter("chat4all_gateway_sends_total", "Sends by outcome.", ["outcome"])
send_stage_seconds = Histogram(
    "chat4all_gateway_send_stage_seconds",
    "Time of one send from received to accepted, and from accepted to seen on the feed.",
    ["stage"],
    buckets=LATENCY_BUCKETS,
)
submit_items = Histogram(
    "chat4all_gateway_submit_items", "Sends in one call to the message service.", buckets=(1, 2, 5, 10, 20, 50, 100, 200)
)
marks_waiting = Gauge("chat4all_gateway_marks_waiting", "Marks not yet told to the conversation service.")

for _found_by in ("live", "position"):
    gap_fills.labels(_found_by)
for _outcome in ("resumed", "reset_too_much_missed", "reset_cursor_ahead"):
    replays.labels(_outcome)
for _code in ("1012", "4000", "4008", "4009", "4100", "4101"):
    closes.labels(_code)
for _outcome in ("accepted", "stored", "refused", "unknown"):
    sends.labels(_outcome)
