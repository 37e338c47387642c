-- Rights on a ClickHouse server: roles `analyst` (reads the views and nothing else, within limits), `writer` (workers and
-- commands that write) and `admin` (whoever upgrades, backs up and lets others in). An administrator of the server applies it:
--
--     clickhouse-client --user default --database pulse --multiquery < deploy/clickhouse/roles.sql
--
-- where pulse is the database of clickhouse.url. It may be applied again, and must be after each upgrade: a view that is
-- new or said anew has no rights yet. Then give people their roles, as at the end. No names or passwords are made here.
-- ClickHouse 24.4 or newer. The embedded database has no users: there [clickhouse.http] lets analysts read and nothing else.

-- Whose rights views have, so that an analyst needs none on the tables behind them. Nobody can log in as it.
CREATE USER IF NOT EXISTS sellerpulse_views HOST NONE;
GRANT SELECT ON * TO sellerpulse_views;

CREATE ROLE IF NOT EXISTS analyst;
CREATE ROLE IF NOT EXISTS writer;
CREATE ROLE IF NOT EXISTS admin;

-- --- analyst -------------------------------------------------------------------------------------------------------

ALTER TABLE alert_acks MODIFY SQL SECURITY DEFINER DEFINER = sellerpulse_views;
ALTER TABLE alert_history MODIFY SQL SECURITY DEFINER DEFINER = sellerpulse_views;
ALTER TABLE alert_silences MODIFY SQL SECURITY DEFINER DEFINER = sellerpulse_views;
ALTER TABLE alerts MODIFY SQL SECURITY DEFINER DEFINER = sellerpulse_views;
ALTER TABLE case_credits MODIFY SQL SECURITY DEFINER DEFINER = sellerpulse_views;
ALTER TABLE case_history MODIFY SQL SECURITY DEFINER DEFINER = sellerpulse_views;
ALTER TABLE cs_by_agent MODIFY SQL SECURITY DEFINER DEFINER = sellerpulse_views;
ALTER TABLE dead_letters MODIFY SQL SECURITY DEFINER DEFINER = sellerpulse_views;
ALTER TABLE feedback_cases MODIFY SQL SECURITY DEFINER DEFINER = sellerpulse_views;
ALTER TABLE feedback_events MODIFY SQL SECURITY DEFINER DEFINER = sellerpulse_views;
ALTER TABLE freshness MODIFY SQL SECURITY DEFINER DEFINER = sellerpulse_views;
ALTER TABLE metric_definitions MODIFY SQL SECURITY DEFINER DEFINER = sellerpulse_views;
ALTER TABLE negative_monthly MODIFY SQL SECURITY DEFINER DEFINER = sellerpulse_views;
ALTER TABLE notifications MODIFY SQL SECURITY DEFINER DEFINER = sellerpulse_views;
ALTER TABLE order_events MODIFY SQL SECURITY DEFINER DEFINER = sellerpulse_views;
ALTER TABLE outreach_candidates MODIFY SQL SECURITY DEFINER DEFINER = sellerpulse_views;
ALTER TABLE rejected_events MODIFY SQL SECURITY DEFINER DEFINER = sellerpulse_views;
ALTER TABLE seller_current MODIFY SQL SECURITY DEFINER DEFINER = sellerpulse_views;
ALTER TABLE seller_daily MODIFY SQL SECURITY DEFINER DEFINER = sellerpulse_views;
ALTER TABLE survey_events MODIFY SQL SECURITY DEFINER DEFINER = sellerpulse_views;

GRANT SELECT ON alert_acks TO analyst;
GRANT SELECT ON alert_history TO analyst;
GRANT SELECT ON alert_silences TO analyst;
GRANT SELECT ON alerts TO analyst;
GRANT SELECT ON case_credits TO analyst;
GRANT SELECT ON case_history TO analyst;
GRANT SELECT ON cs_by_agent TO analyst;
GRANT SELECT ON dead_letters TO analyst;
GRANT SELECT ON feedback_cases TO analyst;
GRANT SELECT ON feedback_events TO analyst;
GRANT SELECT ON freshness TO analyst;
GRANT SELECT ON metric_definitions TO analyst;
GRANT SELECT ON negative_monthly TO analyst;
GRANT SELECT ON notifications TO analyst;
GRANT SELECT ON order_events TO analyst;
GRANT SELECT ON outreach_candidates TO analyst;
GRANT SELECT ON rejected_events TO analyst;
GRANT SELECT ON seller_current TO analyst;
GRANT SELECT ON seller_daily TO analyst;
GRANT SELECT ON survey_events TO analyst;
-- A table that is read as it is.
GRANT SELECT ON digests TO analyst;

-- What one statement may take, and one analyst in an hour. READONLY: a session cannot lift it. Two: it may set formats.
CREATE SETTINGS PROFILE IF NOT EXISTS analyst_limits SETTINGS
    readonly = 2 READONLY,
    max_execution_time = 30 MIN 1 MAX 30,
    max_memory_usage = 2000000000 MAX 2000000000,
    max_rows_to_read = 1000000000 MAX 1000000000,
    max_result_rows = 1000000 MAX 1000000,
    max_result_bytes = 256000000 MAX 256000000,
    result_overflow_mode = 'throw',
    max_threads = 4 MAX 4,
    max_concurrent_queries_for_user = 8 READONLY
    TO analyst;

CREATE QUOTA IF NOT EXISTS analyst_quota KEYED BY user_name
    FOR INTERVAL 1 hour MAX queries = 5000, errors = 1000, result_rows = 100000000, read_rows = 50000000000, execution_time = 3600
    TO analyst;

-- Some analysts see some marketplaces or sellers only: a role of their own beside `analyst`, and for each view that has
-- accounts a policy. Where a view has a policy, whoever has none may see no row: hence the first. Take the comments off, put
-- your names for emea, MKT-DE and the sellers, and repeat the two for every view named below.
--
-- CREATE ROLE IF NOT EXISTS analyst_emea;
-- GRANT analyst TO analyst_emea;
-- CREATE ROW POLICY IF NOT EXISTS everybody ON seller_daily FOR SELECT USING 1 TO ALL EXCEPT analyst_emea;
-- CREATE ROW POLICY IF NOT EXISTS emea ON seller_daily FOR SELECT
--     USING marketplace_id IN ('MKT-DE', 'MKT-FR') AND seller_id IN ('A1', 'A2') TO analyst_emea;
--
-- Views with accounts: alert_acks, alert_history, alerts, case_credits, case_history, cs_by_agent, digests,
-- feedback_cases, feedback_events, negative_monthly, notifications, order_events,
-- outreach_candidates, seller_current, seller_daily, survey_events.
-- freshness has them too, in some rows. What shows of all accounts and fits no policy such a role does not see:
--
-- CREATE ROW POLICY IF NOT EXISTS emea ON rejected_events FOR SELECT USING 0 TO analyst_emea;
-- CREATE ROW POLICY IF NOT EXISTS emea ON dead_letters FOR SELECT USING 0 TO analyst_emea;
-- CREATE ROW POLICY IF NOT EXISTS emea ON alert_silences FOR SELECT USING 0 TO analyst_emea;

-- --- writer and admin ----------------------------------------------------------------------------------------------

GRANT SELECT, INSERT, ALTER, CREATE TABLE, CREATE VIEW, DROP TABLE, DROP VIEW, TRUNCATE, OPTIMIZE ON * TO writer;
GRANT SELECT ON system.tables TO writer;
GRANT SELECT ON system.columns TO writer;

GRANT writer TO admin;
GRANT SELECT, INSERT, ALTER, CREATE, DROP, TRUNCATE, OPTIMIZE, SHOW, BACKUP ON * TO admin WITH GRANT OPTION;
-- `sellerpulse schema status` makes a database beside this one, and drops it.
GRANT CREATE DATABASE, DROP DATABASE, CREATE TABLE, CREATE VIEW, DROP TABLE, DROP VIEW, SELECT, INSERT, ALTER ON *.* TO admin;
GRANT SET DEFINER ON sellerpulse_views TO admin;
GRANT ACCESS MANAGEMENT ON *.* TO admin;

-- --- people --------------------------------------------------------------------------------------------------------

-- CREATE USER ana IDENTIFIED WITH sha256_password BY '...' DEFAULT ROLE analyst;
-- GRANT analyst TO ana;
-- CREATE USER sellerpulse IDENTIFIED WITH sha256_password BY '...' DEFAULT ROLE writer;
-- GRANT writer TO sellerpulse;
