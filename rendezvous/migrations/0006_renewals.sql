-- Whether a credential came of a code, and so belongs to one executor, which may renew it itself.
ALTER TABLE credentials ADD COLUMN renews INTEGER NOT NULL DEFAULT 0;
-- What ends when this one is used to register.
ALTER TABLE credentials ADD COLUMN former TEXT;
-- For how long the credential of a code counts, in seconds; for ever, if absent.
ALTER TABLE enrolments ADD COLUMN lifetime INTEGER;
