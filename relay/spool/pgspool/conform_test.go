package pgspool_test

import (
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/spool/pgspool/pgspooltest"
	"github.com/postern-mail/postern/relay/spool/spooltest"
)

// served opens the queue of a database twice, as two nodes do.
func served(t testing.TB, url string) spooltest.Served {
	var shift time.Duration
	return spooltest.Served{
		Store: open(t, url), Other: open(t, url),
		Advance: func(d time.Duration) {
			shift += d
			pgspooltest.ShiftClock(t, url, "postern", shift)
		},
	}
}

func TestConforms(t *testing.T) {
	spooltest.RunServed(t, func(t *testing.T) spooltest.Served {
		return served(t, server.Database(t))
	})
}

func TestConformsWhenReopened(t *testing.T) {
	spooltest.RunServedDurable(t, func(t *testing.T) func() spooltest.Served {
		url := server.Database(t)
		return func() spooltest.Served { return served(t, url) }
	})
}
