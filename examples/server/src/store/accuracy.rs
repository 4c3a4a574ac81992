//! The labels of analysts beside the verdicts of the model, by month.

use super::session::Row;
use super::{Store, StoreError};
use crate::domain::MonthOfLabels;

impl Store {
    /// Counts the labels by month, the newest month first. Of each file, the newest analysis with a label counts.
    pub(crate) fn labels_by_month(&self) -> Result<Vec<MonthOfLabels>, StoreError> {
        let session = self.session()?;
        let month = session.dialect().choose(
            "strftime('%Y-%m', created / 1000, 'unixepoch')",
            "to_char(to_timestamp(created / 1000) AT TIME ZONE 'UTC', 'YYYY-MM')",
        );
        let sql = format!(
            "WITH labeled AS (
                SELECT {month} AS month, label, result ->> 'verdict' AS verdict,
                       row_number() OVER (PARTITION BY sha256 ORDER BY seq DESC) AS place
                FROM analyses WHERE label IS NOT NULL AND status = 'done'
            )
            SELECT month, count(*) AS labeled,
                   count(*) FILTER (WHERE verdict IN ('FAKE', 'REAL') AND label IN ('fake', 'real')) AS decided,
                   count(*) FILTER (WHERE verdict = upper(label)) AS agreed,
                   count(*) FILTER (WHERE verdict = 'FAKE' AND label = 'real') AS fake_but_real,
                   count(*) FILTER (WHERE verdict = 'REAL' AND label = 'fake') AS real_but_fake,
                   count(*) FILTER (WHERE verdict = 'UNCERTAIN' AND label IN ('fake', 'real')) AS uncertain,
                   count(*) FILTER (WHERE label = 'unclear') AS unclear
            FROM labeled WHERE place = 1 GROUP BY month ORDER BY month DESC"
        );
        let month = |row: &Row| {
            Ok(MonthOfLabels {
                month: row.get("month")?,
                labeled: row.get("labeled")?,
                decided: row.get("decided")?,
                agreed: row.get("agreed")?,
                fake_but_real: row.get("fake_but_real")?,
                real_but_fake: row.get("real_but_fake")?,
                uncertain: row.get("uncertain")?,
                unclear: row.get("unclear")?,
            })
        };
        session.query(&sql, &[])?.iter().map(month).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::store::tests::over_each;

    #[test]
    fn labels_are_counted_by_month_and_once_for_each_file() {
        over_each(check);
    }

    fn check(store: &Store) {
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
                "INSERT INTO analyses (id, status, created, file_name, bytes, sha256, settings, owner, client,
                     fingerprint, result, label)
                 VALUES ('{number}', 'done', {when}, '', 1, '{file}', '{{}}', '', '', '',
                     '{{\"verdict\":\"{verdict}\"}}', {label})"
            );
            store.session().unwrap().batch(&sql).unwrap();
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
