-- A key is of its flow alone: two flows may be given the same one.

UPDATE runs SET key = flow || '/' || key WHERE key IS NOT NULL;
