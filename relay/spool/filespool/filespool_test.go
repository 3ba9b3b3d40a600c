package filespool_test

import (
	"testing"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/filespool"
	"github.com/postern-mail/postern/relay/spool/spooltest"
)

func open(t testing.TB, dir string, o *filespool.Options) *filespool.Store {
	t.Helper()
	s, err := filespool.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestStore(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]filespool.Options{
		"Defaults":      {},
		"SmallSegments": {SegmentBytes: 8 << 10, Threshold: 2 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spooltest.Run(t, func(t *testing.T) spool.Store { return open(t, t.TempDir(), &o) })
			spooltest.RunDurable(t, func(t *testing.T) func() spool.Store {
				dir := t.TempDir()
				return func() spool.Store {
					s := open(t, dir, &o)
					if d := s.Recovery().Damage; len(d) > 0 {
						t.Fatalf("damage: %+v", d)
					}
					return s
				}
			})
		})
	}
}
