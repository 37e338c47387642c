-- Version 1. Which account was sent its digest of which week.

CREATE TABLE digests (
    seller_id LowCardinality(String) COMMENT 'The seller',
    marketplace_id LowCardinality(String) COMMENT 'The marketplace',
    day Date32 COMMENT 'The day that it is of, one a week',
    sent_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') COMMENT 'When it was written here',
    told UInt8 COMMENT '0: it is on the topic alerts; 1: all receivers have it too, or it had nothing to say'
) ENGINE = ReplacingMergeTree(told) ORDER BY (seller_id, marketplace_id, day)
COMMENT 'Digests that were sent, each once for an account and week';
