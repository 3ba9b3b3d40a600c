package relay_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// willing is a next hop that takes all mail.
func willing(context.Context, string, string) (net.Conn, error) {
	near, far := net.Pipe()
	go func() {
		defer far.Close()
		fmt.Fprint(far, "220 mx\r\n")
		r, content := bufio.NewReader(far), false
		for {
			line, err := r.ReadString('\n')
			content = content && line != ".\r\n"
			switch {
			case err != nil:
				return
			case content:
			case strings.HasPrefix(line, "DATA"):
				content = true
				fmt.Fprint(far, "354 go\r\n")
			default:
				fmt.Fprint(far, "250 ok\r\n")
			}
		}
	}()
	return near, nil
}

// A store that crashes over one message, in the midst of a transaction, costs
// that message alone: its connections and places are there for others, and the
// next hop does not rest for it.
func TestCrashingStoreHoldsNobodyUp(t *testing.T) {
	for how, crash := range map[string]func(){
		"panic": func() { panic("here") }, "Goexit": runtime.Goexit,
	} {
		t.Run(how, func(t *testing.T) {
			bubble(t, func(t *testing.T) { holdNobodyUp(t, crash) })
		})
	}
}

func holdNobodyUp(t *testing.T, crash func()) {
	const bad, good = 12, 40
	var poison [bad]string
	var known sync.Mutex // held until they are
	cfg := relay.Config{
		Hostname: "relay.example.test", Dial: willing, Resolver: delivery.StandardResolver(nil),
		SendConnectors: []*connector.SendConnector{{
			Name: "out", AddressSpaces: connector.AllDomains(),
			NextHop: connector.NextHop{Hosts: []string{"192.0.2.1"}, MaxConnections: 2},
		}},
	}
	store := &unreadable{Store: memspool.New(nil), open: func(id spool.ID) error {
		known.Lock()
		list := poison
		known.Unlock()
		for _, p := range list {
			if id.String() == p {
				crash()
			}
		}
		return nil
	}}
	events := new(record)
	cfg.Spool, cfg.Events = store, events.add
	r := run(t, cfg)
	began := time.Now()
	known.Lock()
	for i := range poison {
		poison[i] = submit(t, r, "app@example.test", "x@a.test")
	}
	known.Unlock()
	for range good {
		submit(t, r, "app@example.test", "x@b.test")
	}
	time.Sleep(10 * time.Second)
	synctest.Wait()
	if n := len(events.all(event.Delivered)); n != good || time.Since(began) > time.Minute {
		t.Errorf("%d of %d delivered after %v", n, good, time.Since(began))
	}
	time.Sleep(time.Hour)
	synctest.Wait()
	if n := len(events.all(event.Poisoned)); n != bad {
		t.Errorf("%d of %d set aside", n, bad)
	}
	if n := len(events.all(event.Delivered)); n != good {
		t.Errorf("%d delivered, want %d", n, good)
	}
}
