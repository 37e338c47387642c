-- Version 2. What was done with refused records. Their rows in rejected_events stay as they are.

CREATE TABLE settled_dead_letters (
    topic LowCardinality(String) COMMENT 'The topic that the record was meant for; with the next four the key of rejected_events',
    partition Int32 COMMENT 'Of the record, -1: it came from a file',
    offset Int64 COMMENT 'Of the record, -1: it came from a file',
    file String COMMENT 'The file, if it came from one',
    line Int64 COMMENT 'The line of the file, -1: it came from Kafka',
    state LowCardinality(String) COMMENT 'replayed: it was put back on its topic; dropped: nothing is to be done with it',
    settled_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') COMMENT 'When; the latest stands'
) ENGINE = ReplacingMergeTree(settled_at) ORDER BY (topic, partition, offset, file, line)
COMMENT 'Dead letters that are no longer open; read dead_letters';

CREATE VIEW dead_letters (
    record String COMMENT 'Its name: TOPIC/PARTITION/OFFSET, or TOPIC/FILE:LINE',
    topic LowCardinality(String) COMMENT 'The topic it was meant for; unknown: it named none',
    partition Nullable(Int32) COMMENT 'Of the record; null: it came from a file',
    offset Nullable(Int64) COMMENT 'Of the record; null: it came from a file',
    file Nullable(String) COMMENT 'The file, if it came from one',
    line Nullable(Int64) COMMENT 'The line of the file; null: it came from Kafka',
    reason String COMMENT 'Why it was refused',
    time DateTime64(3, 'UTC') COMMENT 'When it was refused',
    state String COMMENT 'open, replayed or dropped'
)
AS SELECT concat(r.topic, '/', if(r.file = '', concat(toString(r.partition), '/', toString(r.offset)), concat(r.file, ':', toString(r.line)))) AS record,
    r.topic AS topic, nullIf(r.partition, -1) AS partition, nullIf(r.offset, -1) AS offset, nullIf(r.file, '') AS file,
    nullIf(r.line, -1) AS line, r.reason AS reason, r.time AS time, ifNull(nullIf(s.state, ''), 'open') AS state
FROM (SELECT * FROM stored_rejected_events FINAL) AS r
LEFT JOIN (SELECT * FROM settled_dead_letters FINAL) AS s
    ON r.topic = s.topic AND r.partition = s.partition AND r.offset = s.offset AND r.file = s.file AND r.line = s.line
COMMENT 'Refused records, each once, and what was done with them';
