package crashtest_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// brief is how long a write and its sync take at most where nothing else runs.
const brief = 100 * time.Millisecond

// machine is watched for when it is busy with something else.
type machine struct {
	ended chan struct{}
	found chan lulls
}

// lulls are times in which a write took long: what a gateway had to write took
// long as well.
type lulls []lull

type lull struct{ from, to time.Time }

// watchMachine writes and syncs a file in a directory now and then.
func watchMachine(t *testing.T, dir string) *machine {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "pulse"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	m := &machine{make(chan struct{}), make(chan lulls, 1)}
	go func() { m.found <- m.watch(t, f) }()
	return m
}

func (m *machine) watch(t *testing.T, f *os.File) (list lulls) {
	for {
		from := time.Now()
		wait(t.Context(), brief/4)
		_, err := f.WriteAt([]byte("pulse"), 0)
		if err == nil {
			err = f.Sync()
		}
		if err != nil {
			t.Error(err)
			return list
		}
		if to := time.Now(); to.Sub(from) > brief {
			list = append(list, lull{from, to})
		}
		select {
		case <-m.ended:
			return list
		default:
		}
	}
}

func (m *machine) stop() lulls {
	close(m.ended)
	return <-m.found
}

// without is how long it is from one time to another, but for the lulls between
// them.
func (l lulls) without(from, to time.Time) time.Duration {
	d := to.Sub(from)
	for _, s := range l {
		begin, end := s.from, s.to
		if begin.Before(from) {
			begin = from
		}
		if end.After(to) {
			end = to
		}
		d -= max(0, end.Sub(begin))
	}
	return d
}

func TestLullsDoNotCount(t *testing.T) {
	t.Parallel()
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	l := lulls{{at(1), at(3)}, {at(5), at(6)}, {at(9), at(20)}, {at(30), at(40)}}
	if d := l.without(at(2), at(10)); d != 5*time.Second {
		t.Errorf("%v are left, want 5s", d)
	}
}
