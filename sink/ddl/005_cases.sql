-- Version 1. Cases: what a bad rating asks of the staff, and what became of it.

CREATE TABLE stored_cases (
    seller_id LowCardinality(String) COMMENT 'The seller',
    marketplace_id LowCardinality(String) COMMENT 'The marketplace',
    order_id String COMMENT 'The order that was rated',
    feedback_event_id String COMMENT 'The SUBMITTED event that opened the case; of its order alone',
    opened_at DateTime64(3, 'UTC') COMMENT 'When the rating was submitted',
    rating UInt8 COMMENT '1 or 2 stars, or 3 with grounds for removal',
    comment Nullable(String) COMMENT 'The buyer''s; e-mail addresses and phone numbers are masked',
    skus Array(String) COMMENT 'What was ordered',
    agent Nullable(String) COMMENT 'Who of the staff was named last',
    status LowCardinality(String) COMMENT 'open, acted, removal_requested, removal_denied, or for good: removed, struck, revised, replaced, expired',
    closed_at Nullable(DateTime64(3, 'UTC')) COMMENT 'Since when the status is final; null: it is not',
    respond_target_at Nullable(DateTime64(3, 'UTC')) COMMENT 'Answer by then to do well: 3 hours; null: 3 stars, nobody waits',
    respond_by Nullable(DateTime64(3, 'UTC')) COMMENT 'Answer by then: 24 hours; null: 3 stars, nobody waits',
    first_action_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When the staff first answered, gave money back, replaced or asked for removal',
    reviewed_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When a supervisor last looked at it',
    remove_by DateTime64(3, 'UTC') COMMENT 'Until then the buyer can take the rating back: 60 days',
    removal_grounds Array(LowCardinality(String)) COMMENT 'What the marketplace''s rules would remove it for: obscene, personal_data, promotional, product_review, fulfilment',
    follow_up_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When to ask again about a request for removal without an answer: after 3 days',
    root_causes Array(LowCardinality(String)) COMMENT 'What went wrong, a supervisor''s verdict if there is one: late, not_as_described, product, service, packaging, tracking, return, cancel, unknown',
    expires_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When it expires if nothing more happens; null: it is closed or a request is pending',
    transitions Array(Tuple(status String, at DateTime64(3, 'UTC'), event_id String, agent Nullable(String))) COMMENT 'Every status it has had, since when, by which event and whom',
    checksum UInt64 COMMENT 'Sum of the digests of the order''s events that the row knows of',
    reading UInt64 COMMENT 'Hash of the word lists by which the comment was read',
    version UInt64 COMMENT 'Fencing epoch, then a number that grows within it: the greatest stands',
    gone UInt8 COMMENT '1: the rating makes no case'
) ENGINE = ReplacingMergeTree(version) ORDER BY (seller_id, marketplace_id, order_id, feedback_event_id)
COMMENT 'Versions of cases; read feedback_cases';

CREATE VIEW feedback_cases {like stored_cases}
AS SELECT seller_id, marketplace_id, order_id, feedback_event_id, opened_at, rating, comment, skus, agent,
    if(expires_at <= expired_by, 'expired', toString(c.status)) AS status,
    if(expires_at <= expired_by, expires_at, c.closed_at) AS closed_at,
    respond_target_at, respond_by, first_action_at, reviewed_at, remove_by, removal_grounds, follow_up_at, root_causes
FROM (SELECT * FROM stored_cases FINAL WHERE NOT gone) AS c
CROSS JOIN (SELECT toDateTime64(max(day) + 1, 3, 'UTC') AS expired_by FROM as_of_days) AS as_of
COMMENT 'One row for each rating of 1 or 2 stars, and of 3 that the marketplace would remove, as of the end of the as-of day';

CREATE VIEW case_history (
    seller_id LowCardinality(String) COMMENT 'The seller',
    marketplace_id LowCardinality(String) COMMENT 'The marketplace',
    order_id String COMMENT 'The order that was rated',
    feedback_event_id String COMMENT 'The case, as in feedback_cases',
    status String COMMENT 'What it became',
    at DateTime64(3, 'UTC') COMMENT 'When',
    event_id String COMMENT 'By which event; empty: by the clock',
    agent Nullable(String) COMMENT 'By whom of the staff'
)
AS SELECT seller_id, marketplace_id, order_id, feedback_event_id, step.status AS status, step.at AS at, step.event_id AS event_id, step.agent AS agent
FROM (SELECT * FROM stored_cases FINAL WHERE NOT gone) AS c
CROSS JOIN (SELECT toDateTime64(max(day) + 1, 3, 'UTC') AS expired_by FROM as_of_days) AS as_of
ARRAY JOIN arrayConcat(transitions, if(expires_at <= expired_by, [CAST(('expired', assumeNotNull(expires_at), '', NULL) AS Tuple(status String, at DateTime64(3, 'UTC'), event_id String, agent Nullable(String)))], [])) AS step
COMMENT 'Every status of every case, in the order of time';
