package main

import (
	"math"
	"os"
	"time"

	"github.com/postern-mail/postern/examples/internal/proc"
)

// The columns of the scenarios that move messages.
const (
	rate        = iota // messages per second
	cpuDatabase        // seconds per 1,000 messages
	cpuClient
	cpuBoth
)

func costs() []column {
	return []column{
		{"messages/s", 0}, {"CPU s per 1,000: database", 3}, {"client", 3}, {"both", 3},
	}
}

// meter reads clocks before and after the work. Its clients are the processes
// that work; the database is measured always.
type meter struct {
	database int
	clients  []int
	from     reading
}

type reading struct {
	at               time.Time
	database, client time.Duration
}

// measure begins to measure. Without clients it is this process that works.
func (b *bench) measure(clients ...int) (*meter, error) {
	if len(clients) == 0 {
		clients = []int{os.Getpid()}
	}
	m := &meter{database: b.server.root, clients: clients}
	var err error
	m.from, err = m.read()
	return m, err
}

func (m *meter) read() (r reading, err error) {
	r.at = time.Now()
	if r.database, err = proc.CPU(m.database); err != nil {
		return r, err
	}
	for _, pid := range m.clients {
		d, err := m.clientTime(pid)
		if err != nil {
			return r, err
		}
		r.client += d
	}
	return r, nil
}

// clientTime leaves out the children of this process: the database is one.
func (m *meter) clientTime(pid int) (time.Duration, error) {
	if pid == os.Getpid() {
		return proc.Own(pid)
	}
	return proc.CPU(pid)
}

// end tells what n messages have cost.
func (m *meter) end(n int) (figures, error) {
	now, err := m.read()
	if err != nil {
		return nil, err
	}
	each := func(d time.Duration) float64 { return d.Seconds() / float64(n) * 1000 }
	database, client := each(now.database-m.from.database), each(now.client-m.from.client)
	return figures{
		float64(n) / now.at.Sub(m.from.at).Seconds(), database, client, database + client,
	}, nil
}

// withoutDatabase is f of a subject that has none.
func (f figures) withoutDatabase() figures {
	f[cpuDatabase], f[cpuBoth] = math.NaN(), f[cpuClient]
	return f
}
