-- Version 1. Who was told of which change of an alert; what people say about alerts.

CREATE TABLE receivers (
    receiver LowCardinality(String) COMMENT 'Whom the settings name under [receivers]',
    since DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') COMMENT 'Changes from then on are told; the earliest stands'
) ENGINE = ReplacingMergeTree ORDER BY (receiver, since)
COMMENT 'Since when a receiver is there: of what was before it is not told';

CREATE TABLE stored_notifications (
    receiver LowCardinality(String) COMMENT 'Who is told; with the next five the change of which',
    seller_id LowCardinality(String) COMMENT 'The seller',
    marketplace_id LowCardinality(String) COMMENT 'The marketplace',
    alert_id String COMMENT 'The alert, or what else is told',
    day Date32 COMMENT 'The as-of day of the change',
    state LowCardinality(String) COMMENT 'What it changed to',
    version UInt64 COMMENT 'Of the change: below the fencing epoch another number is another change',
    outcome LowCardinality(String) COMMENT 'told; retrying; given_up: refused for good; or not to be told: silenced, acknowledged, unknown (nor was it told that the alert fires), too_old',
    told_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When the receiver said that it has it',
    attempts UInt32 COMMENT 'How often it was tried',
    next_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When it is tried again',
    last_error String COMMENT 'What went wrong the last time',
    noted_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') COMMENT 'When this was written; the latest stands'
) ENGINE = ReplacingMergeTree(noted_at) ORDER BY (seller_id, marketplace_id, alert_id, day, state, receiver)
COMMENT 'Versions of notifications; read notifications';

CREATE VIEW notifications {like stored_notifications}
AS SELECT receiver, seller_id, marketplace_id, alert_id, day, state, outcome, told_at, attempts, next_at, last_error
FROM stored_notifications FINAL
COMMENT 'What came of telling a receiver of a change of an alert';

CREATE TABLE stored_alert_acks (
    seller_id LowCardinality(String) COMMENT 'The seller',
    marketplace_id LowCardinality(String) COMMENT 'The marketplace',
    alert_id String COMMENT 'The alert',
    severity LowCardinality(String) COMMENT 'Its severity then: when it rises, receivers are told again',
    by String COMMENT 'Who knows of it',
    comment String COMMENT 'What they say',
    acked_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') COMMENT 'When; the latest stands'
) ENGINE = ReplacingMergeTree(acked_at) ORDER BY (seller_id, marketplace_id, alert_id)
COMMENT 'Versions of acknowledgements; read alert_acks';

CREATE VIEW alert_acks {like stored_alert_acks}
AS SELECT seller_id, marketplace_id, alert_id, severity, by, comment, acked_at
FROM stored_alert_acks FINAL
COMMENT 'Alerts that somebody knows of';

CREATE TABLE stored_alert_silences (
    silence_id String COMMENT 'Its name',
    rule String COMMENT 'Which rules: a glob, as the next three; * for any',
    seller_id String COMMENT 'Which sellers',
    marketplace_id String COMMENT 'Which marketplaces',
    severity String COMMENT 'Which severities',
    until DateTime64(3, 'UTC') COMMENT 'When it ends',
    by String COMMENT 'Who wants it',
    comment String COMMENT 'Why',
    made_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') COMMENT 'When it was made, or ended early; the latest stands'
) ENGINE = ReplacingMergeTree(made_at) ORDER BY silence_id
COMMENT 'Versions of silences; read alert_silences';

CREATE VIEW alert_silences {like stored_alert_silences}
AS SELECT silence_id, rule, seller_id, marketplace_id, severity, until, by, comment, made_at
FROM stored_alert_silences FINAL
COMMENT 'Of alerts like these no receiver is told until then';
