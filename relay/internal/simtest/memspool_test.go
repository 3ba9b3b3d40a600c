package simtest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay/internal/simtest"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// memory is a machine that never fails.
type memory struct{}

func (memory) Open() (spool.Store, error) { return memspool.New(nil), nil }
func (memory) Stop(bool)                  {}
func (memory) Fail()                      {}
func (memory) Lack()                      {}
func (memory) Fill()                      {}
func (memory) Mend()                      {}

// TestMemory lives through peers, networks and a DNS that fail, with a queue in
// memory.
func TestMemory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		simtest.New(
			t, memory{}, simtest.Plan{Seed: 1, Messages: 120, Lasts: 20 * time.Minute},
		).Run()
	})
}

// one is a machine with a store that all processes share.
type one struct {
	memory
	store spool.Store
}

func (m one) Open() (spool.Store, error) { return m.store, nil }

// nodes is a plan with two of them.
func nodes(seed uint64) simtest.Plan {
	return simtest.Plan{
		Seed: seed, Messages: 200, Lasts: 30 * time.Minute, Nodes: 2, Lease: 30 * time.Second,
	}
}

// TestSimulation has two relays on one queue in memory. Each dies, comes back,
// stands still and loses the store on its own.
func TestSimulation(t *testing.T) {
	simtest.Seeds(t, "./relay/internal/simtest", nodes(0),
		func(t *testing.T, p simtest.Plan) *simtest.World {
			return simtest.New(t, one{store: memspool.New(nil)}, p)
		})
}
