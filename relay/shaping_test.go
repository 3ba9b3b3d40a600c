package relay_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/postern-mail/postern"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// Each fault of Shaping is reported with its field, all of them at once.
func TestShapingIsChecked(t *testing.T) {
	_, err := relay.New(relay.Config{
		Hostname: "relay.example.com", Spool: memspool.New(nil),
		Shaping: delivery.Shaping{
			Site:       delivery.Limits{Connections: -1},
			Source:     delivery.Limits{MessagesPerConnection: -1},
			StreamSite: delivery.Limits{Rate: delivery.Rate{Per: time.Minute}},
			Streams: []delivery.Stream{
				{Name: "news", Weight: 101},
				{Name: "news"},
				{Limits: delivery.Limits{Rate: delivery.Rate{Messages: -1}}},
			},
			Providers: []delivery.Provider{
				{Exchangers: []string{"mx.example."}},
				{Name: "Big"},
				{
					Name: "slow", Exchangers: []string{"a.example"},
					Limits: delivery.Limits{Rate: delivery.Rate{Messages: 1, Per: 1}},
				},
			},
		},
	})
	var fields []string
	for _, e := range err.(interface{ Unwrap() []error }).Unwrap() {
		if f, ok := errors.AsType[*postern.FieldError](e); ok {
			fields = append(fields, f.Field)
		}
	}
	want := []string{
		"Shaping.Site.Connections", "Shaping.Source.MessagesPerConnection",
		"Shaping.StreamSite.Rate.Messages", "Shaping.Streams[0].Weight", "Shaping.Streams[1].Name",
		"Shaping.Streams[2].Limits.Rate.Messages", "Shaping.Providers[0].Name",
		"Shaping.Providers[0].Exchangers[0]", "Shaping.Providers[1].Name",
		"Shaping.Providers[1].Exchangers", "Shaping.Providers[2].Limits.Rate.Per",
	}
	slices.Sort(fields)
	slices.Sort(want)
	if !slices.Equal(fields, want) {
		t.Errorf("faults of\n%q, want\n%q", fields, want)
	}
}
