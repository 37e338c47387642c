-- Version 1. What came of holding rows against the events that they are computed from.

CREATE TABLE self_checks (
    epoch UInt32 COMMENT 'The fencing epoch of the worker that checks; 0: the last `sellerpulse verify` of all accounts',
    checked_at DateTime64(3, 'UTC') COMMENT 'When it last did',
    accounts UInt64 COMMENT 'Accounts whose rows were computed anew and compared, since the epoch began',
    rows UInt64 COMMENT 'Rows of those accounts',
    differing UInt64 COMMENT 'Of those rows: how many were not what the stored events give, missing, or too many',
    differed_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When such rows were last found; null: never'
) ENGINE = ReplacingMergeTree(checked_at) ORDER BY epoch
COMMENT 'One row for each epoch: how many rows were held against their events, and how many were wrong';
