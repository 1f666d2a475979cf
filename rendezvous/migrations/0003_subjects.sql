-- Credentials of one subject: the first and whatever was made of it by rotation. Two of them count at
-- a time.
ALTER TABLE credentials ADD COLUMN subject TEXT NOT NULL DEFAULT '';
-- When it was shown for the first time. What was there before is taken for used.
ALTER TABLE credentials ADD COLUMN used_at INTEGER;
UPDATE credentials SET subject = kid, used_at = created_at;
CREATE INDEX credentials_by_subject ON credentials (subject);
