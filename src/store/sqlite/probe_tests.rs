//! Looks behind the store, for tests.

use std::time::Duration;

use rusqlite::params_from_iter;
use rusqlite::types::Value;

use super::{SqliteStore, delete, hooks, runs, stages, stats};
use crate::domain::flow::record::RunFilter;

impl SqliteStore {
    pub(in crate::store) fn limit_pages(&self, most: u32) {
        self.connection.pragma_update(None, "max_page_count", most).unwrap();
    }

    pub(in crate::store) fn wait_at_most(&self, patience: Duration) {
        self.connection.busy_timeout(patience).unwrap();
    }

    pub(in crate::store) fn plan_of_list(&self, filter: &RunFilter) -> String {
        let (sql, values) = runs::condition(filter);
        self.plan(&sql, values)
    }

    pub(in crate::store) fn plans(&self) -> Vec<(&'static str, String)> {
        let nothing = |count| vec![Value::Null; count];
        vec![
            ("unfinished runs", self.plan(runs::UNFINISHED, vec![])),
            ("commands after runs", self.plan(hooks::OPEN, vec![])),
            ("the stages of a run", self.plan(stages::STAGES, nothing(1))),
            ("failing stages", self.plan(stats::FAILING, nothing(1))),
            ("retries of a checkpoint", self.plan(stages::RETRIES, nothing(6))),
            ("who reuses checkpoints of a run", self.plan(delete::USERS, nothing(1))),
        ]
    }

    fn plan(&self, sql: &str, values: Vec<Value>) -> String {
        let mut query = self.connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let steps = query.query_map(params_from_iter(values), |row| row.get::<_, String>(3)).unwrap();
        steps.map(|step| step.unwrap()).fold(String::new(), |told, step| told + "  " + &step + "\n")
    }
}
