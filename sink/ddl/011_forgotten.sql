-- Version 1. Orders that are to be forgotten: of their ids nothing is kept but hashes, by which they are known again.

CREATE TABLE forgotten_orders (
    seller_id LowCardinality(String) COMMENT 'The seller',
    marketplace_id LowCardinality(String) COMMENT 'The marketplace',
    mark String COMMENT 'HMAC-SHA-256 of the order''s id by the salt; the id itself is not kept',
    salt String COMMENT 'Random, the same in all rows of this database; not for analysts',
    events Array(String) COMMENT 'Hashes of its events that were stored then, in story order, which their pseudonyms keep',
    conversations Array(String) COMMENT 'Hashes of the conversations that named it then',
    forgotten_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') COMMENT 'When it was asked to be forgotten'
) ENGINE = ReplacingMergeTree ORDER BY (seller_id, marketplace_id, mark)
COMMENT 'Orders of which `sellerpulse forget` left pseudonyms; workers give them to events that come again';

-- Empty but while an order is being forgotten. That mutations read ids from here keeps them out of the mutations' own text.
CREATE TABLE forgetting (
    seller_id String COMMENT 'The seller',
    marketplace_id String COMMENT 'The marketplace',
    what LowCardinality(String) COMMENT 'order, conversation, alert or subject',
    old String COMMENT 'An id that is to go',
    new String COMMENT 'Its pseudonym'
) ENGINE = ReplacingMergeTree ORDER BY (what, seller_id, marketplace_id, old)
COMMENT 'Ids of the order that is being forgotten';
