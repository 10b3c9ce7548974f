-- Of a rejection: the stage to begin again with, where that is another one.
ALTER TABLE checkpoints ADD COLUMN rewind_to TEXT;
