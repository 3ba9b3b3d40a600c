package main

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/postern-mail/postern/examples/internal/loopback"
	"github.com/postern-mail/postern/examples/internal/smtpsink"
)

const (
	stalled     = 4  // destinations that take connections and say nothing
	slowDomains = 10 // of a provider that takes slowAnswer for each answer
	slowAnswer  = time.Second
)

// crowd is what stands in the way: mail of another stream for the same domains,
// and mail of the same stream for hosts that do not answer, or slowly.
func (b *bench) crowd(bulk int) []stock {
	own := func(int) string { return "" }
	return []stock{
		{
			deliveries: bulk, perMessage: 1, stream: func(int) string { return "bulk" },
			to: func(i int) string { return domainOf(i % trickleDomains) },
		},
		{
			deliveries: b.messages(4000), perMessage: 1, stream: own,
			to: func(i int) string { return fmt.Sprintf("stall%d%s", i%stalled, domainEnd) },
		},
		{
			deliveries: b.messages(5000), perMessage: 1, stream: own,
			to: func(i int) string { return fmt.Sprintf("slow%d%s", i%slowDomains, domainEnd) },
		},
	}
}

// crowdPlaces tell where the trickle, the stalled and the slow are.
func crowdPlaces(label string) string {
	switch {
	case strings.HasPrefix(label, "stall"):
		i, _ := strconv.Atoi(strings.TrimPrefix(label, "stall"))
		return stalledHost(i)
	case strings.HasPrefix(label, "slow"):
		return slowHost
	}
	return usual(label)
}

const slowHost = "127.54.2.1"

func stalledHost(i int) string { return "127.54.1." + strconv.Itoa(i+1) }

// crowdHosts starts all of them. Those of the trickle are 50 ms away.
func (b *bench) crowdHosts(dir string, received func(recipients []string)) (*hop, error) {
	return b.newHop(func(h *hop) (err error) {
		if h.addr, err = loopback.FreeAddr(); err != nil {
			return err
		}
		_, port, _ := net.SplitHostPort(h.addr)
		var quiet []string
		for i := range stalled {
			quiet = append(quiet, net.JoinHostPort(stalledHost(i), port))
		}
		if _, err := h.ownSink(smtpsink.Config{Addrs: quiet, Silent: true}); err != nil {
			return err
		}
		slow := smtpsink.Config{
			Addrs: []string{net.JoinHostPort(slowHost, port)}, Keywords: keywords(),
			Think: slowAnswer,
		}
		if _, err := h.ownSink(slow); err != nil {
			return err
		}
		near, err := h.ownSink(smtpsink.Config{Keywords: keywords(), Received: received})
		if err != nil {
			return err
		}
		if _, err := h.away(near.Addr(), exchangersAt(h.addr)...); err != nil {
			return err
		}
		return h.dns(dir, crowdPlaces)
	})
}
