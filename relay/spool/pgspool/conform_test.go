package pgspool_test

import (
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/spool/pgspool/pgspooltest"
	"github.com/postern-mail/postern/relay/spool/spooltest"
)

// lag is what a busy machine takes, and less than a node has between two scans.
const lag = 25 * time.Second

// served opens the queue of a database.
func served(t testing.TB, url string) spooltest.Served {
	return spooltest.Served{Store: open(t, url), Advance: shifter(t, url), Lag: lag}
}

// shifter moves the clock of a database forward.
func shifter(t testing.TB, url string) func(time.Duration) {
	var shift time.Duration
	return func(d time.Duration) {
		shift += d
		pgspooltest.ShiftClock(t, url, "postern", shift)
	}
}

// servedTwice opens it twice, as two nodes do.
func servedTwice(t testing.TB, url string) spooltest.Served {
	v := served(t, url)
	v.Other = open(t, url)
	return v
}

func TestConforms(t *testing.T) {
	spooltest.RunServed(t, func(t *testing.T) spooltest.Served {
		return served(t, server.Database(t))
	})
}

func TestConformsWithTwoNodes(t *testing.T) {
	spooltest.RunServed(t, func(t *testing.T) spooltest.Served {
		return servedTwice(t, server.Database(t))
	})
}

func TestConformsWhenReopened(t *testing.T) {
	spooltest.RunServedDurable(t, func(t *testing.T) func() spooltest.Served {
		url := server.Database(t)
		return func() spooltest.Served { return servedTwice(t, url) }
	})
}

// TestConformsThroughBouncer has each statement or transaction on a connection
// of its own, shared with others.
func TestConformsThroughBouncer(t *testing.T) {
	spooltest.RunServed(t, func(t *testing.T) spooltest.Served {
		url := server.Database(t)
		pooled := server.Bouncer(t, url) + "&default_query_exec_mode=cache_describe"
		return spooltest.Served{
			Store: open(t, pooled), Other: open(t, pooled), Advance: shifter(t, url),
			Lag: lag,
		}
	})
}
