-- What is searched. Twice the id of a run: its name and inputs; one more: its error.

CREATE VIRTUAL TABLE run_text USING fts5 (text, tokenize = 'trigram', columnsize = 0);
