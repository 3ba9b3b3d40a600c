package pgspool

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	oldSnapshot    = 10 * time.Minute
	oldTransaction = 1000 // transactions since, at least: an idle database has no other snapshot
	manyDead       = 200_000
)

// health is what keeps the database from clearing rows away.
type health struct {
	horizon string    // the oldest transaction that somebody may look at
	since   time.Time // when it was seen first
}

// horizonText finds the oldest snapshot of the database. A role may not see how
// old those of others are, but which they are.
const horizonText = `
SELECT x::text, age(x), who FROM (
	SELECT backend_xmin AS x, 'process ' || pid AS who FROM pg_stat_activity
	WHERE (datname = current_database() OR datname IS NULL) AND pid <> pg_backend_pid()
	UNION ALL SELECT xmin, 'replication slot ' || slot_name FROM pg_replication_slots
	UNION ALL SELECT transaction, 'prepared transaction ' || gid FROM pg_prepared_xacts
	WHERE database = current_database()) v
WHERE x IS NOT NULL ORDER BY age(x) DESC LIMIT 1`

// deadText finds the table with the most rows that are not cleared away.
const deadText = `
SELECT relname::text, n_dead_tup FROM pg_stat_user_tables
WHERE schemaname = $1 AND n_dead_tup > $2 AND n_dead_tup > n_live_tup
ORDER BY n_dead_tup DESC LIMIT 1`

// lookAtHealth warns of what makes the queue slower and slower.
func (s *Store) lookAtHealth(ctx context.Context, now time.Time) error {
	var x, who string
	var age int64
	err := s.row(ctx, s.pool, horizonText).Scan(&x, &age, &who)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return err
	}
	if old := s.janitor.health.see(x, age, now); old >= oldSnapshot {
		s.log.Warn("an old snapshot keeps the database from clearing rows away: the queue gets "+
			"slower",
			"held_by", who, "for", old.Round(time.Second), "transactions", age)
	}
	var table string
	var dead int64
	err = s.row(ctx, s.pool, deadText, string(s.schemaName), manyDead).Scan(&table, &dead)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err == nil {
		s.log.Warn("rows pile up that autovacuum has not cleared away",
			"table", table, "rows", dead)
	}
	return err
}

// see takes in the oldest snapshot, and returns for how long it has been that.
func (h *health) see(x string, age int64, now time.Time) time.Duration {
	if x == "" || x != h.horizon {
		h.horizon, h.since = x, now
	}
	if age < oldTransaction {
		return 0
	}
	return now.Sub(h.since)
}
