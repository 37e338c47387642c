-- Version 1. Rules that ask a breach to hold, and changes of which nobody is told.

-- What was written before there was this column is long past: nobody is to be told of it now.
ALTER TABLE stored_alert_history
    ADD COLUMN muted UInt8 DEFAULT 1 COMMENT '1: nobody is told of it, since it was found in history and not as it happened';

CREATE VIEW alert_history {like stored_alert_history}
AS SELECT alert_id, day, rule, seller_id, marketplace_id, state, value, changed_at, muted
FROM stored_alert_history FINAL
COMMENT 'Every change of every alert';
