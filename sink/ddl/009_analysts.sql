-- Version 1. The rest of what analysts read; what views know of the settings; the latest day of each account by itself.

-- One row stands: the settings of the worker, replay or rebuild that started last. Views read the latest.
CREATE TABLE settings_in_force (
    said_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') COMMENT 'When they were said; the latest stands',
    partitions UInt32 COMMENT 'kafka.partitions: of each topic of events',
    receipt_days UInt32 COMMENT 'metrics.receipt_days: an order counts as received so long after it was shipped, where nothing else tells',
    credits Map(String, Float64) COMMENT 'cases.credits: by root cause, what ending a case well earns',
    feedback_days Tuple(UInt32, UInt32) COMMENT 'outreach.feedback_days: asked for feedback is from so many days after receipt until so many',
    review String COMMENT 'outreach.review: off, all or happy',
    review_days Tuple(UInt32, UInt32) COMMENT 'outreach.review_days: the same of a review',
    definitions Array(Tuple(name String, marketplace_id String, formula String, unit String, window_days Nullable(UInt32),
        thresholds Array(Tuple(rule String, severity String, comparison String, threshold Float64, clear Nullable(Float64))),
        source String)) COMMENT 'Rows of metric_definitions; marketplace_id is empty for those that no other row names'
) ENGINE = ReplacingMergeTree(said_at) ORDER BY tuple()
COMMENT 'What views need of the settings';

CREATE TABLE consumer_lags (
    topic LowCardinality(String) COMMENT 'The topic',
    partition Int32 COMMENT 'The partition',
    lag UInt64 COMMENT 'Records of it that were not durable yet',
    noted_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') COMMENT 'When its worker noted that; the latest stands'
) ENGINE = ReplacingMergeTree(noted_at) ORDER BY (topic, partition)
COMMENT 'What workers know of their lag, now and then';

-- --- the latest day of each account --------------------------------------------------------------------------------

CREATE TABLE stored_seller_current (
    seller_id LowCardinality(String) COMMENT 'The seller',
    marketplace_id LowCardinality(String) COMMENT 'The marketplace',
    day Date COMMENT 'UTC; the row is the value at its end',
    {metrics},
    computed_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') COMMENT 'When the row was written',
    version UInt64 COMMENT 'As in stored_seller_daily',
    gone UInt8 DEFAULT 0 COMMENT '1: the account has no row any more',
    latest UInt128 MATERIALIZED bitOr(bitShiftLeft(toUInt128(toUInt16(day)), 64), toUInt128(version)) COMMENT 'Of an account the latest day stands, of that day the greatest version'
) ENGINE = ReplacingMergeTree(latest, gone) ORDER BY (seller_id, marketplace_id)
COMMENT 'Of every write to stored_seller_daily each account''s last row; read seller_current';

ALTER TABLE stored_seller_daily
    ADD COLUMN latest UInt8 DEFAULT 0 COMMENT '1: of the account nothing later was written with it, so it goes to stored_seller_current too';

-- What the asterisk stands for is looked at with each insert: columns of new metrics go with it.
CREATE MATERIALIZED VIEW latest_days TO stored_seller_current {like stored_seller_daily}
AS SELECT * EXCEPT (latest) FROM stored_seller_daily WHERE latest
COMMENT 'Takes the last row of each account in an insert to where seller_current reads it';

INSERT INTO stored_seller_current (seller_id, marketplace_id, day, {metric_names}, computed_at, version)
SELECT seller_id, marketplace_id, day, {metric_names}, computed_at, version
FROM stored_seller_daily FINAL
WHERE (seller_id, marketplace_id, day) IN (
    SELECT seller_id, marketplace_id, max(day) FROM stored_seller_daily FINAL GROUP BY seller_id, marketplace_id)
SETTINGS optimize_move_to_prewhere_if_final = 1;

CREATE VIEW seller_current {like stored_seller_current}
AS SELECT seller_id, marketplace_id, day, {metric_names}, computed_at
FROM stored_seller_current FINAL
COMMENT 'The latest day of every account';

-- Conditions on account and day, and no others, are looked at before all columns are read: a year of one account in half the time.
CREATE VIEW seller_daily {like stored_seller_daily}
AS SELECT seller_id, marketplace_id, day, {metric_names}, computed_at
FROM stored_seller_daily FINAL
SETTINGS optimize_move_to_prewhere_if_final = 1
COMMENT 'The metrics of every account at the end of every day, from its first event day to the as-of day';

-- --- cases ---------------------------------------------------------------------------------------------------------

CREATE VIEW negative_monthly (
    month Date COMMENT 'The first day of the month, UTC, of the ratings and of the orders',
    seller_id LowCardinality(String) COMMENT 'The seller',
    marketplace_id LowCardinality(String) COMMENT 'The marketplace',
    sku String COMMENT 'What was ordered: a rating of an order of several counts in each row; empty: not told',
    root_cause LowCardinality(String) COMMENT 'What went wrong, as in feedback_cases: a rating with several counts in each row',
    negative UInt64 COMMENT 'Ratings of 1-2 stars submitted in the month, each the sum of the next five',
    removed UInt64 COMMENT 'Of them: taken back by the buyer, or removed by the marketplace',
    struck UInt64 COMMENT 'Of them: the marketplace took the blame',
    revised UInt64 COMMENT 'Of them: followed by a rating of 3 stars or more',
    replaced UInt64 COMMENT 'Of them: followed by another rating of 1-2 stars',
    standing UInt64 COMMENT 'Of them: still standing',
    median_hours_to_action Nullable(Float64) COMMENT 'Hours from the rating, or the end of its day if no time is known, to the first action; of those with one',
    orders UInt64 COMMENT 'Orders of the sku first placed in the month, whatever became of them',
    negative_per_order Nullable(Float64) COMMENT 'negative / orders; null where the orders are of other months'
)
AS SELECT c.month AS month, c.seller_id AS seller_id, c.marketplace_id AS marketplace_id, c.sku AS sku, c.root_cause AS root_cause,
    c.negative AS negative, c.removed AS removed, c.struck AS struck, c.revised AS revised, c.replaced AS replaced,
    c.negative - c.removed - c.struck - c.revised - c.replaced AS standing, c.median_hours_to_action AS median_hours_to_action,
    o.orders AS orders, if(o.orders = 0, NULL, c.negative / o.orders) AS negative_per_order
FROM (
    SELECT toStartOfMonth(opened_at) AS month, seller_id, marketplace_id,
        arrayJoin(if(empty(skus), [''], skus)) AS sku, arrayJoin(root_causes) AS root_cause,
        count() AS negative, countIf(status = 'removed') AS removed, countIf(status = 'struck') AS struck,
        countIf(status = 'revised') AS revised, countIf(status = 'replaced') AS replaced,
        quantileExactInclusive(0.5)(if(first_action_at IS NULL, NULL, greatest(0, dateDiff('millisecond', respond_by - INTERVAL 24 HOUR, first_action_at)) / 3600000)) AS median_hours_to_action
    FROM feedback_cases WHERE rating <= 2
    GROUP BY month, seller_id, marketplace_id, sku, root_cause
) AS c
LEFT JOIN (
    SELECT toStartOfMonth(placed_at) AS month, seller_id, marketplace_id, arrayJoin(if(empty(skus), [''], skus)) AS sku, count() AS orders
    FROM (
        SELECT seller_id, marketplace_id, order_id, minIf(event_time, kind = 'PLACED') AS placed_at, groupUniqArrayArray(skus) AS skus
        FROM stored_order_events FINAL
        WHERE event_time < (SELECT toDateTime64(max(day) + 1, 3, 'UTC') FROM as_of_days)
        GROUP BY seller_id, marketplace_id, order_id HAVING countIf(kind = 'PLACED') > 0
    )
    GROUP BY month, seller_id, marketplace_id, sku
) AS o ON o.month = c.month AND o.seller_id = c.seller_id AND o.marketplace_id = c.marketplace_id AND o.sku = c.sku
SETTINGS join_use_nulls = 0
COMMENT 'Ratings of 1-2 stars by month, account, sku and root cause, what became of them, and the orders of the sku, as of the end of the as-of day';

CREATE VIEW case_credits (
    month Date COMMENT 'The first day of the month, UTC, in which the cases ended',
    seller_id LowCardinality(String) COMMENT 'The seller',
    marketplace_id LowCardinality(String) COMMENT 'The marketplace',
    agent String COMMENT 'Who of the staff acted last on the cases before they ended',
    cases UInt64 COMMENT 'Cases that ended well: removed, struck or revised',
    credit Float64 COMMENT 'What they earn by cases.credits of the settings: once a case, the greatest among its root causes'
)
AS SELECT toStartOfMonth(ended_at) AS month, seller_id, marketplace_id, agent, count() AS cases, sum(earned) AS credit
FROM (
    SELECT c.seller_id AS seller_id, c.marketplace_id AS marketplace_id, assumeNotNull(any(c.closed_at)) AS ended_at,
        assumeNotNull(argMax(a.agent, (a.event_time, a.event_id))) AS agent,
        arrayMax(arrayMap(cause -> (SELECT argMax(credits, said_at) FROM settings_in_force)[cause], any(c.root_causes))) AS earned
    FROM (
        SELECT seller_id, marketplace_id, order_id, feedback_event_id, opened_at, closed_at, root_causes,
            transitions[-1].event_id AS ended_by
        FROM stored_cases FINAL WHERE NOT gone AND status IN ('removed', 'struck', 'revised')
    ) AS c
    JOIN (
        SELECT seller_id, marketplace_id, order_id, event_time, event_id, agent
        FROM stored_feedback_events FINAL
        WHERE kind IN ('RESPONDED', 'CONTACTED', 'REFUNDED', 'REPLACED', 'REMOVAL_REQUESTED') AND agent != ''
    ) AS a ON a.seller_id = c.seller_id AND a.marketplace_id = c.marketplace_id AND a.order_id = c.order_id
    WHERE (a.event_time, a.event_id) > (c.opened_at, c.feedback_event_id) AND (a.event_time, a.event_id) < (c.closed_at, c.ended_by)
    GROUP BY c.seller_id, c.marketplace_id, c.order_id, c.feedback_event_id
)
GROUP BY month, seller_id, marketplace_id, agent
COMMENT 'Cases that ended well, by month, account and who acted last on them, and what that earns';

CREATE VIEW cs_by_agent (
    month Date COMMENT 'The first day of the month, UTC, of the answers',
    seller_id LowCardinality(String) COMMENT 'The seller',
    marketplace_id LowCardinality(String) COMMENT 'The marketplace',
    agent Nullable(String) COMMENT 'Who of the staff; null: not told',
    answers UInt64 COMMENT 'Survey answers',
    solved UInt64 COMMENT 'Of them: the problem was solved',
    share Float64 COMMENT 'solved / answers'
)
AS SELECT toStartOfMonth(event_time) AS month, seller_id, marketplace_id, agent, count() AS answers, countIf(s.solved) AS solved,
    countIf(s.solved) / count() AS share
FROM stored_survey_events AS s FINAL
WHERE event_time < (SELECT toDateTime64(max(day) + 1, 3, 'UTC') FROM as_of_days)
GROUP BY month, seller_id, marketplace_id, agent
COMMENT 'Survey answers by month, account and who of the staff was asked about, as of the end of the as-of day';

-- --- outreach ------------------------------------------------------------------------------------------------------

-- An order can be worth asking about only if an event of it, or a promise, is of the last days: the others are not read.
CREATE VIEW outreach_candidates (
    seller_id LowCardinality(String) COMMENT 'The seller',
    marketplace_id LowCardinality(String) COMMENT 'The marketplace',
    order_id String COMMENT 'The order',
    ask LowCardinality(String) COMMENT 'feedback: on the seller; review: on the product, off unless outreach.review of the settings says otherwise',
    received_at DateTime64(3, 'UTC') COMMENT 'When the order was received, or counts as received',
    days_since_receipt UInt32 COMMENT 'Days from there to the as-of day',
    last_day Date COMMENT 'The last day on which it is worth asking'
)
AS WITH
    assumeNotNull((SELECT max(day) FROM as_of_days)) AS as_of,
    toDateTime64(as_of + 1, 3, 'UTC') AS until,
    assumeNotNull((SELECT argMax((receipt_days, feedback_days, review, review_days), said_at) FROM settings_in_force)) AS settings,
    settings.1 AS receipt_days, settings.3 AS review,
    toDateTime64(as_of - greatest(settings.2.2, settings.4.2), 3, 'UTC') AS since,
    standing AS (
        SELECT seller_id, marketplace_id, order_id, argMaxIf(ifNull(rating, 0), (event_time, event_id), kind IN ('SUBMITTED', 'REMOVED', 'STRUCK')) AS stars,
            countIf(kind = 'SUBMITTED') > 0 AS was_rated, countIf(kind = 'FEEDBACK_ASKED') > 0 AS was_asked,
            countIf(kind = 'REVIEW_ASKED') > 0 AS was_asked_for_review, countIf(kind = 'OPTED_OUT') > 0 AS opted_out
        FROM stored_feedback_events FINAL WHERE event_time < until GROUP BY seller_id, marketplace_id, order_id
    ),
    unsolved AS (
        SELECT seller_id, marketplace_id, assumeNotNull(order_id) AS order_id
        FROM stored_survey_events FINAL WHERE order_id != '' AND event_time < until
        GROUP BY seller_id, marketplace_id, order_id HAVING NOT argMax(solved, (event_time, event_id))
    ),
    received AS (
        SELECT seller_id, marketplace_id, order_id,
            minIf(event_time, kind = 'SHIPPED') AS shipped_at, minIf(event_time, kind = 'DELIVERED') AS delivered_at,
            argMaxIf(deliver_by, (event_time, event_id), deliver_by IS NOT NULL) AS promised_at,
            assumeNotNull(multiIf(countIf(kind = 'DELIVERED') > 0, delivered_at, promised_at IS NULL, shipped_at + toIntervalDay(receipt_days),
                greatest(promised_at, shipped_at))) AS received_at,
            ifNull(argMaxIf(fulfilment, (event_time, event_id), fulfilment IS NOT NULL), '') != 'MARKETPLACE' AND ifNull(received_at > promised_at, false) AS is_late,
            NOT (is_late OR countIf(kind IN ('CANCELLED', 'RETURNED', 'CHARGEBACK')) > 0
                OR argMaxIf(kind, (event_time, event_id), kind IN ('CLAIM_OPENED', 'CLAIM_DENIED')) = 'CLAIM_OPENED') AS is_free_of_trouble
        FROM stored_order_events FINAL
        WHERE event_time < until AND (seller_id, marketplace_id, order_id) IN (
            SELECT seller_id, marketplace_id, order_id FROM stored_order_events
            WHERE (event_time >= since - toIntervalDay(receipt_days) AND event_time < until) OR (deliver_by >= since AND deliver_by < until))
        GROUP BY seller_id, marketplace_id, order_id
        HAVING countIf(kind IN ('SHIPPED', 'DELIVERED')) > 0 AND received_at >= since AND received_at < until
    )
SELECT o.seller_id AS seller_id, o.marketplace_id AS marketplace_id, o.order_id AS order_id, asked.1 AS ask, o.received_at AS received_at,
    toUInt32(dateDiff('day', toDate32(o.received_at), as_of)) AS days_since_receipt, toDate(o.received_at) + asked.2.2 AS last_day
FROM received AS o
LEFT JOIN standing AS f ON f.seller_id = o.seller_id AND f.marketplace_id = o.marketplace_id AND f.order_id = o.order_id
LEFT JOIN unsolved AS u ON u.seller_id = o.seller_id AND u.marketplace_id = o.marketplace_id AND u.order_id = o.order_id
ARRAY JOIN [
    ('feedback', settings.2, o.is_free_of_trouble AND NOT (f.was_rated OR f.was_asked OR f.opted_out OR u.order_id = o.order_id)),
    ('review', settings.4, NOT (f.was_asked_for_review OR f.opted_out) AND (review = 'all' OR (review = 'happy' AND f.stars >= 4)))
] AS asked
WHERE asked.3 AND days_since_receipt BETWEEN asked.2.1 AND asked.2.2
SETTINGS join_use_nulls = 0
COMMENT 'Orders worth asking about on the as-of day: the buyer for feedback, or if the settings say so for a review';

-- --- what the numbers mean, and how fresh they are -----------------------------------------------------------------

CREATE VIEW metric_definitions (
    name String COMMENT 'The column of seller_daily',
    marketplace_id String COMMENT 'The marketplace; empty: any that has no row of its own',
    formula String COMMENT 'What it is, by the terms in force there',
    unit String COMMENT 'Its unit',
    window_days Nullable(UInt32) COMMENT 'How many days it looks back over; null: all, or it counts nothing',
    thresholds Array(Tuple(rule String, severity String, comparison String, threshold Float64, clear Nullable(Float64))) COMMENT 'Of the alert rules in force on it: in breach is what compares so with the threshold; clear: where an alert ends, null: there too',
    source String COMMENT 'Where it comes from'
)
AS WITH (SELECT argMax(definitions, said_at) FROM settings_in_force) AS definitions
SELECT d.1 AS name, d.2 AS marketplace_id, d.3 AS formula, d.4 AS unit, d.5 AS window_days, d.6 AS thresholds, d.7 AS source
FROM (SELECT arrayJoin(definitions) AS d)
UNION ALL
SELECT d.1 AS name, toString(m.marketplace_id) AS marketplace_id, d.3 AS formula, d.4 AS unit, d.5 AS window_days, d.6 AS thresholds, d.7 AS source
FROM (SELECT DISTINCT marketplace_id FROM account_marks WHERE NOT has(definitions.2, toString(marketplace_id))) AS m
ARRAY JOIN arrayFilter(each -> each.2 = '', definitions) AS d
COMMENT 'Every metric on every marketplace: formula, unit, window, thresholds and source, by the settings of the worker that started last';

CREATE VIEW freshness (
    topic Nullable(String) COMMENT 'Of a partition: the topic; null in the row of an account''s source',
    partition Nullable(Int32) COMMENT 'Its number, by kafka.partitions of the settings',
    seller_id Nullable(String) COMMENT 'Of an account''s source: the seller; null in the row of a partition',
    marketplace_id Nullable(String) COMMENT 'The marketplace',
    source Nullable(String) COMMENT 'Which connector',
    last_event_time DateTime64(3, 'UTC') COMMENT 'When the last of its events happened; 1970: there is none',
    last_write DateTime64(3, 'UTC') COMMENT 'When one was stored last',
    lag Nullable(UInt64) COMMENT 'Records of the partition that were not durable, when its worker last said; null: none did',
    lag_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When that was',
    usual_events_a_day Nullable(UInt64) COMMENT 'Of the source: as many came on half of the 28 days before the day of its last event, or more'
)
AS WITH
    ifNull((SELECT argMax(s.partitions, said_at) FROM settings_in_force AS s), 0) AS partitions,
    events AS (
        SELECT 'orders' AS topic, account_hash, seller_id, marketplace_id, source, event_time, first_seen_at FROM stored_order_events
        UNION ALL SELECT 'feedback', account_hash, seller_id, marketplace_id, source, event_time, first_seen_at FROM stored_feedback_events
        UNION ALL SELECT 'surveys', account_hash, seller_id, marketplace_id, source, event_time, first_seen_at FROM stored_survey_events
    ),
    events_once AS (
        SELECT seller_id, marketplace_id, source, event_time, first_seen_at FROM stored_order_events FINAL
        UNION ALL SELECT seller_id, marketplace_id, source, event_time, first_seen_at FROM stored_feedback_events FINAL
        UNION ALL SELECT seller_id, marketplace_id, source, event_time, first_seen_at FROM stored_survey_events FINAL
    )
SELECT topic, partition, NULL AS seller_id, NULL AS marketplace_id, NULL AS source, max(latest) AS last_event_time,
    max(written) AS last_write, max(records) AS lag, max(noted) AS lag_at, NULL AS usual_events_a_day
FROM (
    SELECT topic, toInt32(account_hash % greatest(partitions, 1)) AS partition, max(event_time) AS latest, max(first_seen_at) AS written,
        CAST(NULL AS Nullable(UInt64)) AS records, CAST(NULL AS Nullable(DateTime64(3, 'UTC'))) AS noted
    FROM events WHERE partitions > 0 GROUP BY topic, partition
    UNION ALL
    SELECT topic, partition, toDateTime64(0, 3, 'UTC'), toDateTime64(0, 3, 'UTC'), lag, noted_at FROM consumer_lags FINAL
)
GROUP BY topic, partition
UNION ALL
SELECT NULL, NULL, seller_id, marketplace_id, source, max(latest), max(written), NULL, NULL,
    arrayReverseSort(arrayResize(arrayMap(each -> each.2, arrayFilter(
        each -> each.1 < last_day AND each.1 >= last_day - 28, groupArray((event_day, n)))), 28))[14]
FROM (
    SELECT seller_id, marketplace_id, source, toInt32(toRelativeDayNum(event_time)) AS event_day, count() AS n, max(event_time) AS latest,
        max(first_seen_at) AS written, max(event_day) OVER (PARTITION BY seller_id, marketplace_id, source) AS last_day
    FROM events_once GROUP BY seller_id, marketplace_id, source, event_day
)
GROUP BY seller_id, marketplace_id, source, last_day
COMMENT 'How fresh the data is: a row for each partition of a topic, and for each source of each account';
