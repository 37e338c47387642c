"""The statements that load the stored events of accounts: all of them, or no more than somebody needs."""

from schemas.events import Topic

EVENT_TABLES: dict[Topic, str] = {
    "orders": "stored_order_events",
    "feedback": "stored_feedback_events",
    "surveys": "stored_survey_events",
}


def loading(topic: Topic, these: str, *, troubled: bool, since_ms: int | None) -> str:
    """The events of a topic that `these`, a condition on accounts, is true of, as rows of `schemas.rows.Loaded`.

    What `troubled` and `since_ms` leave out is told in `sink.store.Store.load`.
    """
    read, since = f"SELECT {_LOADED[topic]} FROM {EVENT_TABLES[topic]} FINAL", None if topic == "surveys" else since_ms
    if troubled:
        # Before anything else of the others is read: that is sound with FINAL, for an event's row has its order's id.
        recent = "1" if since is None else _RECENT.format(since=int(since))
        return f"{read} PREWHERE {_TROUBLED[topic].format(these=these, recent=recent)} WHERE {these}"
    if since is not None:
        return f"{read} WHERE {these} AND {_SINCE.format(these=these, since=int(since))}"
    return f"{read} WHERE {these}"


_KEY = "seller_id, marketplace_id"
_FACT = "toUnixTimestamp64Milli(event_time), event_id, reinterpretAsUInt64(digest)"
_LOADED: dict[Topic, str] = {
    "orders": f"{_KEY}, order_id, {_FACT}, kind, fulfilment, toUnixTimestamp64Milli(deliver_by)",
    "feedback": f"{_KEY}, order_id, {_FACT}, kind, rating, arrived_on_time, item_as_described, "
    "customer_service, source",
    "surveys": f"{_KEY}, conversation_id, {_FACT}, solved, order_id",
}
# Of an order or a conversation that nothing of this is true of, no metric is the worse: see `streams.core.evidence`.
_TROUBLED_ORDERS = """order_id IN (
    SELECT order_id FROM (
        SELECT order_id, event_time AS t, event_time AS happened, deliver_by AS promised,
            kind NOT IN ('PLACED', 'SHIPPED', 'DELIVERED') AS is_bad FROM stored_order_events WHERE {these}
        UNION ALL SELECT order_id, event_time, NULL, NULL,
            ifNull(rating <= 3 OR NOT arrived_on_time OR NOT item_as_described OR NOT customer_service, 0)
            FROM stored_feedback_events WHERE {these})
    GROUP BY order_id HAVING (max(is_bad) OR max(happened) > min(promised)) AND {recent})"""
_RECENT = "(max(t) >= fromUnixTimestamp64Milli({since}) OR max(promised) >= fromUnixTimestamp64Milli({since}))"
_TROUBLED: dict[Topic, str] = {
    "orders": _TROUBLED_ORDERS,
    "feedback": _TROUBLED_ORDERS,
    "surveys": "conversation_id IN (SELECT conversation_id FROM stored_survey_events WHERE {these} AND NOT solved)",
}
_SINCE = f"""({_KEY}, order_id) IN (
    SELECT {_KEY}, order_id FROM stored_order_events WHERE {{these}} AND (
        event_time >= fromUnixTimestamp64Milli({{since}}) OR deliver_by >= fromUnixTimestamp64Milli({{since}}))
    UNION ALL SELECT {_KEY}, order_id FROM stored_feedback_events
        WHERE {{these}} AND event_time >= fromUnixTimestamp64Milli({{since}})
    UNION ALL SELECT {_KEY}, argMin(order_id, event_time) FROM (
        SELECT {_KEY}, order_id, event_time FROM stored_order_events WHERE {{these}}
        UNION ALL SELECT {_KEY}, order_id, event_time FROM stored_feedback_events WHERE {{these}}) GROUP BY {_KEY})"""
