-- Version 1. The names that analysts rely on. A view's columns carry the comments of the columns they show: {like TABLE}.

CREATE VIEW order_events {like stored_order_events}
AS SELECT event_id, seller_id, marketplace_id, event_time, source, order_id, kind, fulfilment, deliver_by, skus, first_seen_at
FROM stored_order_events FINAL
COMMENT 'Accepted events of topic orders, one row each';

CREATE VIEW feedback_events {like stored_feedback_events}
AS SELECT event_id, seller_id, marketplace_id, event_time, source, order_id, kind, rating, comment, agent, amount, currency,
    root_cause, date_only, arrived_on_time, item_as_described, customer_service, first_seen_at
FROM stored_feedback_events FINAL
COMMENT 'Accepted events of topic feedback, one row each';

CREATE VIEW survey_events {like stored_survey_events}
AS SELECT event_id, seller_id, marketplace_id, event_time, source, conversation_id, message_id, solved, buyer_initiated,
    order_id, agent, comment, first_seen_at
FROM stored_survey_events FINAL
COMMENT 'Accepted events of topic surveys, one row each';

CREATE VIEW seller_daily {like stored_seller_daily}
AS SELECT seller_id, marketplace_id, day, {metric_names}, computed_at
FROM stored_seller_daily FINAL
COMMENT 'The metrics of every account at the end of every day, from its first event day to the as-of day';

CREATE VIEW seller_current {like stored_seller_daily}
AS SELECT seller_id, marketplace_id, day, {metric_names}, computed_at
FROM stored_seller_daily FINAL
ORDER BY day DESC LIMIT 1 BY seller_id, marketplace_id
COMMENT 'The latest day of every account';

CREATE VIEW alerts {like stored_alerts}
AS SELECT alert_id, rule, seller_id, marketplace_id, subject, state, severity, value, threshold, since, resolved_at, order_ids, order_count
FROM stored_alerts FINAL
COMMENT 'Alerts, each in its latest state';

CREATE VIEW alert_history {like stored_alert_history}
AS SELECT alert_id, day, rule, seller_id, marketplace_id, state, value, changed_at
FROM stored_alert_history FINAL
COMMENT 'Every change of every alert';

CREATE VIEW rejected_events {like stored_rejected_events}
AS SELECT topic, nullIf(partition, -1) AS partition, nullIf(offset, -1) AS offset, nullIf(file, '') AS file,
    nullIf(line, -1) AS line, reason, time
FROM stored_rejected_events FINAL
COMMENT 'Refused records, each once';
