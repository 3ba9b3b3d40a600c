package main

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/postern-mail/postern/examples/internal/delay"
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
func (b *bench) crowdHosts(dir string, received func([]string)) (_ *hop, err error) {
	h := &hop{id: b.identity}
	defer func() {
		if err != nil {
			h.close()
		}
	}()
	free, err := freeAddr()
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(free)
	h.addr = free
	at := func(host string) string { return net.JoinHostPort(host, port) }
	var quiet []string
	for i := range stalled {
		quiet = append(quiet, at(stalledHost(i)))
	}
	near, err := h.sinkOf(smtpsink.Config{Keywords: keywords(), Received: received})
	if err == nil {
		_, err = h.sinkOf(smtpsink.Config{Addrs: quiet, Silent: true})
	}
	if err == nil {
		_, err = h.sinkOf(smtpsink.Config{
			Addrs: []string{at(slowHost)}, Keywords: keywords(), Think: slowAnswer,
		})
	}
	if err != nil {
		return nil, err
	}
	var addrs []string
	for _, host := range exchangerHosts() {
		addrs = append(addrs, at(host))
	}
	p, err := delay.Start(near.Addr(), oneWay, addrs...)
	if err != nil {
		return nil, err
	}
	h.closes = append(h.closes, p.Stop)
	stop, resolv, err := startZone(dir, crowdPlaces)
	if err == nil {
		h.resolv, h.closes = resolv, append(h.closes, stop)
	}
	return h, err
}

// sinkOf starts a sink that ends with h.
func (h *hop) sinkOf(c smtpsink.Config) (*smtpsink.Sink, error) {
	s, err := smtpsink.Start(c)
	if err == nil {
		h.closes = append(h.closes, s.Stop)
	}
	return s, err
}
