-- What began the first run of the lineage: its retries keep it. Of one whose first run was deleted nobody knows better.

ALTER TABLE runs ADD COLUMN begun_by TEXT;

UPDATE runs SET begun_by = coalesce((SELECT first.cause FROM runs AS first WHERE first.run_id = runs.root), 'manual');
