//! The labels of analysts beside the verdicts of the model, by month.

use super::{Store, StoreError};
use crate::domain::MonthOfLabels;

impl Store {
    /// Counts the labels by month, the newest month first. Of each file, the newest analysis with a label counts.
    pub(crate) fn labels_by_month(&self) -> Result<Vec<MonthOfLabels>, StoreError> {
        let sql = "
            WITH labeled AS (
                SELECT strftime('%Y-%m', created / 1000, 'unixepoch') AS month, label,
                       json_extract(result, '$.verdict') AS verdict,
                       row_number() OVER (PARTITION BY sha256 ORDER BY seq DESC) AS place
                FROM analyses WHERE label IS NOT NULL AND status = 'done'
            )
            SELECT month, count(*),
                   sum(verdict IN ('FAKE', 'REAL') AND label IN ('fake', 'real')),
                   sum(verdict = upper(label)),
                   sum(verdict = 'FAKE' AND label = 'real'),
                   sum(verdict = 'REAL' AND label = 'fake'),
                   sum(verdict = 'UNCERTAIN' AND label IN ('fake', 'real')),
                   sum(label = 'unclear')
            FROM labeled WHERE place = 1 GROUP BY month ORDER BY month DESC";
        let connection = self.connection();
        let mut statement = connection.prepare_cached(sql)?;
        let rows = statement.query_map([], |row| {
            let count = |column: usize| row.get::<_, i64>(column).map(i64::cast_unsigned);
            Ok(MonthOfLabels {
                month: row.get(0)?,
                labeled: count(1)?,
                decided: count(2)?,
                agreed: count(3)?,
                fake_but_real: count(4)?,
                real_but_fake: count(5)?,
                uncertain: count(6)?,
                unclear: count(7)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn labels_are_counted_by_month_and_once_for_each_file() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("deepsight.sqlite")).unwrap();
        let november = 1_795_000_000_000_i64;
        let october = november - 31 * 86_400_000;
        for (number, (when, file, verdict, label)) in [
            (october, "a", "FAKE", "'real'"),
            (october, "b", "FAKE", "'fake'"),
            (november, "a", "FAKE", "'fake'"),
            (november, "c", "FAKE", "'real'"),
            (november, "d", "REAL", "'fake'"),
            (november, "e", "UNCERTAIN", "'fake'"),
            (november, "f", "REAL", "'unclear'"),
            (november, "g", "REAL", "NULL"),
        ]
        .into_iter()
        .enumerate()
        {
            let sql = format!(
                "INSERT INTO analyses (id, status, created, file_name, bytes, sha256, settings, owner, fingerprint,
                     result, label)
                 VALUES ('{number}', 'done', {when}, '', 1, '{file}', '{{}}', '', '', '{{\"verdict\":\"{verdict}\"}}',
                     {label})"
            );
            store.connection().execute_batch(&sql).unwrap();
        }
        let month =
            |month: &str, [labeled, decided, agreed, fake_but_real, real_but_fake, uncertain, unclear]: [u64; 7]| {
                let month = month.to_owned();
                MonthOfLabels { month, labeled, decided, agreed, fake_but_real, real_but_fake, uncertain, unclear }
            };
        let expected = [month("2026-11", [5, 3, 1, 1, 1, 1, 1]), month("2026-10", [1, 1, 1, 0, 0, 0, 0])];
        assert_eq!(store.labels_by_month().unwrap(), expected);
    }
}
