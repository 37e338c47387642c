-- Version 1. `stored_*` and other names not in the README are the sink's own; analysts use the views at the end.
-- Statements end in ";" at a line's end. {metrics} stands for the columns of the catalogue, {metric_names} for their names.

CREATE TABLE stored_order_events (
    event_id String COMMENT 'Unique among the events of its order on this topic',
    seller_id String COMMENT 'The seller',
    marketplace_id String COMMENT 'The marketplace',
    event_time DateTime64(3, 'UTC') COMMENT 'When it happened at the marketplace',
    source String COMMENT 'Which connector brought it',
    order_id String COMMENT 'The order',
    kind String COMMENT 'PLACED, SHIPPED, DELIVERED, CANCELLED, RETURNED, CLAIM_OPENED, CLAIM_DENIED, CHARGEBACK',
    fulfilment Nullable(String) COMMENT 'SELLER or MARKETPLACE; null: unknown',
    deliver_by Nullable(DateTime64(3, 'UTC')) COMMENT 'The promised latest delivery',
    skus Array(String) COMMENT 'What was ordered',
    digest FixedString(8) COMMENT 'Of the content: where an id was used twice, the smaller stands',
    first_seen_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') COMMENT 'When it was stored here',
    account_hash UInt32 MATERIALIZED bitAnd(kafkaMurmurHash(concat(seller_id, '|', marketplace_id)), 2147483647) COMMENT 'Kafka partition = this modulo the number of partitions',
    version UInt64 MATERIALIZED bitNot(reinterpretAsUInt64(digest)) COMMENT 'The greatest stands'
) ENGINE = ReplacingMergeTree(version) ORDER BY (seller_id, marketplace_id, order_id, event_id)
COMMENT 'Every accepted event of topic orders; read order_events';

CREATE TABLE stored_feedback_events (
    event_id String COMMENT 'Unique among the events of its order on this topic',
    seller_id String COMMENT 'The seller',
    marketplace_id String COMMENT 'The marketplace',
    event_time DateTime64(3, 'UTC') COMMENT 'When it happened at the marketplace',
    source String COMMENT 'Which connector brought it',
    order_id String COMMENT 'The order',
    kind String COMMENT 'SUBMITTED, REMOVED, STRUCK, or what the staff or the buyer did',
    rating Nullable(UInt8) COMMENT '1 to 5 stars, with SUBMITTED',
    comment Nullable(String) COMMENT 'E-mail addresses and phone numbers are masked',
    agent Nullable(String) COMMENT 'Who of the staff',
    amount Nullable(Float64) COMMENT 'Money given back, in currency',
    currency Nullable(String) COMMENT 'Of the amount',
    root_cause Nullable(String) COMMENT 'A supervisor''s verdict, with REVIEWED',
    date_only Bool COMMENT 'The marketplace gave a day and no time',
    arrived_on_time Nullable(Bool) COMMENT 'The buyer''s answer; null: not answered',
    item_as_described Nullable(Bool) COMMENT 'The buyer''s answer; null: not answered',
    customer_service Nullable(Bool) COMMENT 'The buyer''s answer; null: not answered',
    digest FixedString(8) COMMENT 'Of the content: where an id was used twice, the smaller stands',
    first_seen_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') COMMENT 'When it was stored here',
    account_hash UInt32 MATERIALIZED bitAnd(kafkaMurmurHash(concat(seller_id, '|', marketplace_id)), 2147483647) COMMENT 'Kafka partition = this modulo the number of partitions',
    version UInt64 MATERIALIZED bitNot(reinterpretAsUInt64(digest)) COMMENT 'The greatest stands'
) ENGINE = ReplacingMergeTree(version) ORDER BY (seller_id, marketplace_id, order_id, event_id)
COMMENT 'Every accepted event of topic feedback; read feedback_events';

CREATE TABLE stored_survey_events (
    event_id String COMMENT 'Unique among the events of its conversation on this topic',
    seller_id String COMMENT 'The seller',
    marketplace_id String COMMENT 'The marketplace',
    event_time DateTime64(3, 'UTC') COMMENT 'When it happened at the marketplace',
    source String COMMENT 'Which connector brought it',
    conversation_id String COMMENT 'The conversation',
    message_id String COMMENT 'The message that carried the survey',
    solved Bool COMMENT 'Did this solve your problem?',
    buyer_initiated Bool COMMENT 'Always true: messages a seller sends unasked carry no survey',
    order_id Nullable(String) COMMENT 'The order it was about, if known',
    agent Nullable(String) COMMENT 'Who of the staff',
    comment Nullable(String) COMMENT 'E-mail addresses and phone numbers are masked',
    digest FixedString(8) COMMENT 'Of the content: where an id was used twice, the smaller stands',
    first_seen_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') COMMENT 'When it was stored here',
    account_hash UInt32 MATERIALIZED bitAnd(kafkaMurmurHash(concat(seller_id, '|', marketplace_id)), 2147483647) COMMENT 'Kafka partition = this modulo the number of partitions',
    version UInt64 MATERIALIZED bitNot(reinterpretAsUInt64(digest)) COMMENT 'The greatest stands'
) ENGINE = ReplacingMergeTree(version) ORDER BY (seller_id, marketplace_id, conversation_id, event_id)
COMMENT 'Every accepted event of topic surveys; read survey_events';

CREATE TABLE stored_seller_daily (
    seller_id LowCardinality(String) COMMENT 'The seller',
    marketplace_id LowCardinality(String) COMMENT 'The marketplace',
    day Date COMMENT 'UTC; the row is the value at its end',
    {metrics},
    computed_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') COMMENT 'When the row was written',
    version UInt64 COMMENT 'Fencing epoch and number of accepted events: the greatest stands',
    gone UInt8 DEFAULT 0 COMMENT '1: the account has no row of this day any more'
) ENGINE = ReplacingMergeTree(version, gone) ORDER BY (seller_id, marketplace_id, day)
COMMENT 'Versions of rows; read seller_daily';

CREATE TABLE account_marks (
    seller_id LowCardinality(String) COMMENT 'The seller',
    marketplace_id LowCardinality(String) COMMENT 'The marketplace',
    checksum UInt64 COMMENT 'Sum of the digests of the events that the rows know of',
    formula UInt64 COMMENT 'Hash of the catalogue and the metric settings that the rows follow',
    rules UInt64 COMMENT 'Hash of the rules by which a replay judged the rows; 0: none did',
    first_day Date32 COMMENT 'The first day that has a row',
    as_of Date32 COMMENT 'The last day that has a row',
    version UInt64 COMMENT 'Fencing epoch and number of marks written in it: the greatest stands'
) ENGINE = ReplacingMergeTree(version) ORDER BY (seller_id, marketplace_id)
COMMENT 'How far each account''s rows are; written after the rows, so a crash in between shows';

CREATE TABLE as_of_days (
    day Date32 COMMENT 'The as-of day: the last one that has rows; it never moves back',
    moved_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') COMMENT 'When'
) ENGINE = ReplacingMergeTree ORDER BY day
COMMENT 'The as-of day is the greatest';

CREATE TABLE epochs (
    epoch UInt32 COMMENT 'A worker''s fencing epoch, taken when it is given partitions',
    taken_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') COMMENT 'When'
) ENGINE = ReplacingMergeTree ORDER BY epoch
COMMENT 'The next one is the greatest and one';

CREATE TABLE stored_rejected_events (
    topic LowCardinality(String) COMMENT 'The topic it was meant for; unknown: it named none',
    partition Int32 COMMENT 'Of the record, -1: it came from a file',
    offset Int64 COMMENT 'Of the record, -1: it came from a file',
    file String COMMENT 'The file, if it came from one',
    line Int64 COMMENT 'The line of the file, -1: it came from Kafka',
    reason String COMMENT 'Why it was refused',
    time DateTime64(3, 'UTC') COMMENT 'When it was refused'
) ENGINE = ReplacingMergeTree ORDER BY (topic, partition, offset, file, line)
COMMENT 'Refused records; read rejected_events';

CREATE TABLE stored_alerts (
    alert_id String COMMENT 'Of rule, account, subject and first breach day',
    rule LowCardinality(String) COMMENT 'The rule',
    seller_id LowCardinality(String) COMMENT 'The seller',
    marketplace_id LowCardinality(String) COMMENT 'The marketplace',
    subject String COMMENT 'The metric, or what else the alert is about',
    state LowCardinality(String) COMMENT 'pending, firing or resolved',
    severity LowCardinality(String) COMMENT 'info, warning or critical',
    value Nullable(Float64) COMMENT 'The metric at the last change',
    threshold Float64 COMMENT 'What it is held against',
    since DateTime64(3, 'UTC') COMMENT 'The first day in breach',
    resolved_at Nullable(DateTime64(3, 'UTC')) COMMENT 'The first day out of breach',
    order_ids Array(String) COMMENT 'Orders behind it, newest first, at most 100',
    order_count UInt32 COMMENT 'How many orders are behind it',
    version UInt64 COMMENT 'The greatest is the latest state',
    gone UInt8 COMMENT '1: a replay found that it never was'
) ENGINE = ReplacingMergeTree(version, gone) ORDER BY (seller_id, marketplace_id, alert_id)
COMMENT 'Versions of alerts; read alerts';

CREATE TABLE stored_alert_history (
    alert_id String COMMENT 'The alert',
    day Date32 COMMENT 'The as-of day of the change',
    rule LowCardinality(String) COMMENT 'The rule',
    seller_id LowCardinality(String) COMMENT 'The seller',
    marketplace_id LowCardinality(String) COMMENT 'The marketplace',
    state LowCardinality(String) COMMENT 'What it changed to',
    value Nullable(Float64) COMMENT 'The metric then',
    changed_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') COMMENT 'When it was noticed',
    version UInt64 COMMENT 'The greatest stands',
    gone UInt8 COMMENT '1: a replay found that it never was'
) ENGINE = ReplacingMergeTree(version, gone) ORDER BY (seller_id, marketplace_id, alert_id, day, state)
COMMENT 'Versions of alert changes; read alert_history';

CREATE TABLE misplaced_records (
    topic LowCardinality(String) COMMENT 'The topic',
    partition Int32 COMMENT 'The partition where they were found',
    last_offset Int64 COMMENT 'Of the batch',
    records UInt32 COMMENT 'How many of the batch belong in another partition',
    seen_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') COMMENT 'When'
) ENGINE = ReplacingMergeTree ORDER BY (topic, partition, last_offset)
COMMENT 'Records found outside their account''s partition: a producer partitions by another hash than murmur2';
