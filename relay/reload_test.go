package relay_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

func TestReloadOfWhatCannotChange(t *testing.T) {
	cfg := relay.Config{
		Hostname: "relay.example.test", Spool: memspool.New(nil), MaxDeliveries: 500,
	}
	r, err := relay.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	for field, change := range map[string]func(*relay.Config){
		"Hostname":      func(c *relay.Config) { c.Hostname = "other.example.test" },
		"MaxDeliveries": func(c *relay.Config) { c.MaxDeliveries = 5 },
		"EventLog":      func(c *relay.Config) { c.EventLog.Retention = time.Hour },
	} {
		changed := cfg
		change(&changed)
		err := r.Reload(changed)
		if f, ok := errors.AsType[*postern.FieldError](err); !ok || f.Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
	// In another spelling, and with the default in words, it is the same.
	cfg.Hostname, cfg.MaxDeliveries = "RELAY.example.test", 0
	if err := r.Reload(cfg); err != nil {
		t.Error(err)
	}
}

func TestPressureUpsideDown(t *testing.T) {
	for field, p := range map[string]relay.Pressure{
		"Pressure.QueueMedium":  {QueueMedium: 2, QueueHigh: 1},
		"Pressure.MemoryMedium": {MemoryMedium: 2, MemoryHigh: 1},
		"Pressure.DiskHigh":     {DiskMedium: 1, DiskHigh: 2},
	} {
		_, err := relay.New(relay.Config{
			Hostname: "relay.example.test", Spool: memspool.New(nil), Pressure: p,
		})
		if f, ok := errors.AsType[*postern.FieldError](err); !ok || f.Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func TestSubmitWithImpossibleNotify(t *testing.T) {
	r := idle(t, nil)
	for _, n := range []spool.Notify{255, 16, spool.NotifyNever | spool.NotifyDelay} {
		_, err := r.Submit(context.Background(), &relay.Message{
			From: "app@example.test", To: []string{"x@elsewhere.test"},
			Content: strings.NewReader(text), Notify: n,
		})
		if f, ok := errors.AsType[*postern.FieldError](err); !ok || f.Field != "Notify" {
			t.Errorf("%d: %v", n, err)
		}
	}
}
