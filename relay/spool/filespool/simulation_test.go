package filespool_test

import (
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay/internal/simtest"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/filespool"
)

// machine is a computer with a disk that fails as it is told.
type machine struct {
	dir    string
	disk   *filespool.Disk
	said   *strings.Builder // by the store, for who looks into a failure
	random *rand.Rand
}

func newMachine(t *testing.T, seed uint64) *machine {
	return &machine{
		dir: t.TempDir(), disk: filespool.NewDisk(seed), said: new(strings.Builder),
		random: rand.New(rand.NewPCG(seed, 3)),
	}
}

func (m *machine) Open() (spool.Store, error) {
	return filespool.OpenFS(m.dir, &filespool.Options{
		SegmentBytes: 256 << 10, Threshold: 16 << 10,
		Logger: slog.New(slog.NewTextHandler(m.said, nil)),
	}, m.disk)
}

func (m *machine) Stop(powerLost bool) {
	if powerLost {
		m.disk.Crash()
	} else {
		m.disk.Kill()
	}
}

func (m *machine) Fail() {
	m.disk.Fault(func(op, name string) error { // under the lock of the disk
		if m.random.IntN(4) == 0 {
			return syscall.EIO
		}
		return nil
	})
}

func (m *machine) Lack() {
	m.disk.Fault(func(op, name string) error {
		if (op == "open" || op == "opendir" || op == "readdir") && m.random.IntN(2) == 0 {
			return syscall.EMFILE
		}
		return nil
	})
}

func (m *machine) Fill() {
	m.disk.Fault(func(op, name string) error {
		if op == "write" {
			return syscall.ENOSPC
		}
		return nil
	})
}

func (m *machine) Mend() { m.disk.Fault(nil) }

// TestSimulation runs whole relays over a failing disk, each with a seed of its
// own. SIMULATION_SEED runs one again, SIMULATION_SEEDS sets how many there
// are: make simulate has 25 of them, make soak a thousand.
func TestSimulation(t *testing.T) {
	if s := os.Getenv("SIMULATION_SEED"); s != "" {
		seed, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		simulate(t, seed)
		return
	}
	seeds := 2
	if s := os.Getenv("SIMULATION_SEEDS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		seeds = n
	}
	begun, recipients, faults := time.Now(), 0, make(map[simtest.Fault]int)
	for range seeds {
		f, n := simulate(t, rand.Uint64()>>1)
		recipients += n
		for kind, n := range f {
			faults[kind] += n
		}
	}
	all := 0
	for _, kind := range simtest.Faults() {
		t.Logf("%-34s %5d", kind, faults[kind])
		all += faults[kind]
		if least := 4 * seeds; faults[kind] < least && seeds > 2 {
			t.Errorf("%s came %d times, fewer than %d", kind, faults[kind], least)
		}
	}
	t.Logf("%d recipients and %d faults in %v", recipients, all, time.Since(begun))
}

func simulate(t *testing.T, seed uint64) (faults map[simtest.Fault]int, recipients int) {
	t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			m := newMachine(t, seed)
			faults, recipients = simtest.New(t, m, simtest.Plan{
				Seed: seed, Messages: 300, Lasts: 30 * time.Minute, Durable: true,
			}).Run()
			if t.Failed() {
				t.Log(m.said.String())
			}
		})
		if t.Failed() {
			t.Logf(
				"again: SIMULATION_SEED=%d go test -run Simulation ./relay/spool/filespool", seed,
			)
		}
	})
	return faults, recipients
}
