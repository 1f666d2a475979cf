-- Whether an executor with a credential of its own is expected for an environment is asked with each
-- `connect`.
CREATE INDEX credentials_by_scope ON credentials (tenant, kind, scope);
CREATE INDEX enrolments_by_scope ON enrolments (tenant, scope);
