package pgspool_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/pgspool"
	"github.com/postern-mail/postern/relay/spool/pgspool/pgspooltest"
)

const day = 24 * time.Hour

// count returns the number that a statement returns.
func count(t testing.TB, pool *pgxpool.Pool, sql string, args ...any) (n int) {
	t.Helper()
	if err := pool.QueryRow(t.Context(), sql, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// days are queues with two records on each of some days, at noon by their
// clock: no test sees a day end.
type days struct {
	*pgspool.Store
	pool  *pgxpool.Pool
	start time.Time // noon of the first
	url   string
}

// fill writes on each of n days, and tidies up at the end of each.
func fill(t *testing.T, n int) days {
	t.Helper()
	url := server.Database(t)
	noon := time.Now().UTC().Truncate(day).Add(day / 2)
	d := days{Store: open(t, url), pool: connect(t, url), start: noon, url: url}
	for i := range n {
		d.shift(t, i)
		for range 2 {
			commitRecords(t, d.Store, spool.Record{
				Time: d.start.Add(time.Duration(i) * day), Data: fmt.Append(nil, i),
			})
		}
		d.bounds(t)
		d.Tidy(t.Context())
	}
	return d
}

func (d *days) shift(t *testing.T, days int) {
	t.Helper()
	noon := d.start.Add(time.Duration(days) * day)
	pgspooltest.ShiftClock(t, d.url, "postern", time.Until(noon))
}

func (d *days) bounds(t *testing.T) (oldest, newest spool.Cursor) {
	t.Helper()
	oldest, newest, err := d.Bounds(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return oldest, newest
}

func (d *days) want(t *testing.T, oldest, newest spool.Cursor) {
	t.Helper()
	if o, n := d.bounds(t); o != oldest || n != newest {
		t.Fatalf("the log goes from %d to %d, want %d to %d", o, n, oldest, newest)
	}
}

// truncate forgets what is older than some days.
func (d *days) truncate(t *testing.T, days int) {
	t.Helper()
	// A little less, so that what was written at that moment stays.
	before := d.start.Add(time.Duration(days)*day - time.Minute)
	if err := d.Truncate(t.Context(), before); err != nil {
		t.Fatal(err)
	}
}

const countDays = "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relname LIKE 'log\\_2%'"

// TestDays has a partition for each day, some ahead, and drops those that are
// over; what is left has the places that it had.
func TestDays(t *testing.T) {
	d := fill(t, 6)
	if n := count(t, d.pool, "SELECT count(*) FROM postern.log_rest"); n != 0 {
		t.Fatalf("%d rows have no day", n)
	}
	if n := count(t, d.pool, "SELECT count(DISTINCT tableoid) FROM postern.log"); n != 6 {
		t.Fatalf("the log is in %d tables, want 6", n)
	}
	made := count(t, d.pool, countDays)
	if made < 7 {
		t.Fatalf("%d days were made, none ahead", made)
	}
	d.truncate(t, 3)
	d.want(t, 6, 12)
	if n := count(t, d.pool, countDays); n != made-3 {
		t.Fatalf("%d of %d days are left", n, made)
	}
	_, err := d.Records(t.Context(), 1, 10)
	if gap, ok := errors.AsType[*spool.GapError](err); !ok || gap.After != 1 || gap.Oldest != 6 {
		t.Fatalf("%v, want a gap up to 6", err)
	}
	list, err := d.Records(t.Context(), 7, 10)
	if err != nil || len(list) != 5 || list[0].At != 8 || string(list[0].Data) != "3" {
		t.Fatalf("%+v, %v", list, err)
	}
}

// TestPlacesNeverBeginAnew forgets all records: the next one has the next
// place.
func TestPlacesNeverBeginAnew(t *testing.T) {
	d := fill(t, 3)
	d.truncate(t, 100)
	d.want(t, 4, 6) // this day is not over
	d.shift(t, 10)
	d.truncate(t, 100)
	d.want(t, 6, 6)
	d.Tidy(t.Context())
	d.want(t, 6, 6)
	if _, err := d.Records(t.Context(), 5, 10); !errors.Is(err, spool.ErrGap) {
		t.Fatal(err)
	}
	if list, err := d.Records(t.Context(), 6, 10); len(list) > 0 || err != nil {
		t.Fatal(list, err)
	}
	again := open(t, d.url)
	commitRecords(t, again, record("next"))
	if list, err := again.Records(t.Context(), 6, 10); err != nil || len(list) != 1 ||
		list[0].At != 7 {
		t.Fatalf("%+v, %v", list, err)
	}
}

// TestDaysWithoutTheirOwn has the role make no tables: all is in the default
// partition, of which rows are deleted up to the first that stays.
func TestDaysWithoutTheirOwn(t *testing.T) {
	d := fill(t, 1)
	role := d.pool.Config().ConnConfig.User
	server.Exec(t, "CREATE ROLE "+role+"_app LOGIN")
	for _, text := range []string{
		"GRANT USAGE ON SCHEMA postern TO " + role + "_app",
		"GRANT ALL ON ALL TABLES IN SCHEMA postern TO " + role + "_app",
		"GRANT ALL ON ALL SEQUENCES IN SCHEMA postern TO " + role + "_app",
	} {
		if _, err := d.pool.Exec(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	url := strings.Replace(d.url, "//"+role+"@", "//"+role+"_app@", 1)
	s, err := pgspool.Open(t.Context(), connect(t, url), &pgspool.Options{NoMigrate: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range 4 {
		d.shift(t, 20+i)
		commitRecords(t, s, spool.Record{
			Time: d.start.Add(time.Duration(20+i) * day), Data: fmt.Append(nil, i),
		})
		d.bounds(t)
		s.Tidy(t.Context())
	}
	if err := s.Truncate(t.Context(), d.start.Add(21*day)); err != nil {
		t.Fatal(err)
	}
	d.want(t, 3, 6)
	if n := count(t, d.pool, "SELECT count(*) FROM postern.log_rest"); n != 3 {
		t.Fatalf("%d rows are left", n)
	}
	if err := s.Truncate(t.Context(), d.start.Add(100*day)); err != nil {
		t.Fatal(err)
	}
	d.want(t, 6, 6)
}

// TestReaderBesideTruncate has somebody read the log for long: Truncate leaves
// it for now, nobody waits, and the days go when the reader has ended.
func TestReaderBesideTruncate(t *testing.T) {
	d := fill(t, 3)
	reader := begin(t, d.pool, pgx.TxOptions{})
	if _, err := reader.Exec(t.Context(), "SELECT * FROM postern.log"); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	beside := make(chan error, 1)
	go func() { beside <- d.Truncate(context.Background(), d.start.Add(2*day-time.Minute)) }()
	for i := range 10 {
		commitRecords(t, d.Store, record("x"))
		if _, err := d.Records(t.Context(), spool.Cursor(6+i), 10); err != nil {
			t.Fatal(err)
		}
	}
	d.truncate(t, 2)
	d.Tidy(t.Context())
	if err := <-beside; err != nil { // nor does it go on when the reader has ended
		t.Fatal(err)
	}
	d.want(t, 0, 16)
	if took := time.Since(begun); took > 10*time.Second {
		t.Fatalf("all were held up for %v", took)
	}
	if err := reader.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.Tidy(t.Context())
	d.want(t, 4, 16)
}
