package admin

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
)

// How much of a list is shown.
const (
	maxConnectors = 100
	maxDomains    = 200
	maxItems      = 20 // of a list within a connector
)

// list is the beginning of a list, and how many items are left out.
type list[T any] struct {
	Items []T `json:"items"`
	More  int `json:"more"`
}

// first makes a list of at most n items.
func first[S, T any](n int, all []S, show func(S) T) list[T] {
	l := list[T]{Items: make([]T, min(n, len(all)))}
	for i := range l.Items {
		l.Items[i] = show(all[i])
	}
	l.More = len(all) - len(l.Items)
	return l
}

func same[T any](v T) T { return v }

// status is the answer to GET /status. Its fields are described in the
// package's documentation.
type status struct {
	Hostname        string         `json:"hostname"`
	Load            load           `json:"load"`
	Queue           *queue         `json:"queue"`
	Relays          relays         `json:"relays"`
	Connectors      list[receive]  `json:"connectors"`
	AcceptedDomains list[accepted] `json:"accepted_domains"`
	SendConnectors  list[sendsTo]  `json:"send_connectors"`
	Sites           list[site]     `json:"sites"`
	Throttles       list[throttle] `json:"throttles"`
	Poison          *poison        `json:"poison"`
}

type load struct {
	Level  relay.PressureLevel `json:"level"`
	Queue  gauge               `json:"queue"`
	Memory gauge               `json:"memory"`
	Disk   gauge               `json:"disk"`
}

type gauge struct {
	Level relay.PressureLevel `json:"level"`
	Value int64               `json:"value"`
}

type queue struct {
	Messages   int64 `json:"messages"`
	Deliveries int64 `json:"deliveries"`
	Leased     int64 `json:"leased"`
	Bytes      int64 `json:"bytes"`
}

// relays are those that share the spool.
type relays struct {
	Live int `json:"live"`
	Rank int `json:"rank"`
}

type receive struct {
	Name             string                    `json:"name"`
	Usage            connector.Usage           `json:"usage"`
	Bindings         list[netip.AddrPort]      `json:"bindings"`
	RemoteRanges     list[connector.Range]     `json:"remote_ranges"`
	TLS              string                    `json:"tls"`
	AuthMechanisms   connector.AuthMechanism   `json:"auth_mechanisms"`
	PermissionGroups connector.PermissionGroup `json:"permission_groups"`
	Grants           list[grant]               `json:"grants"`
	Limits           limits                    `json:"limits"`
}

type grant struct {
	Principal connector.Principal `json:"principal"`
	Rights    connector.Right     `json:"rights"`
	Deny      bool                `json:"deny"`
}

type limits struct {
	MaxMessageBytes         int64                `json:"max_message_bytes"`
	MaxRecipients           int                  `json:"max_recipients"`
	MaxConnections          int                  `json:"max_connections"`
	MaxConnectionsPerSource int                  `json:"max_connections_per_source"`
	ConnectionRate          int                  `json:"connection_rate"`
	MessageRate             int                  `json:"message_rate"`
	MessageRateBy           connector.RateSource `json:"message_rate_by"`
}

type accepted struct {
	Domain          string       `json:"domain"`
	Type            domains.Type `json:"type"`
	MatchSubdomains bool         `json:"match_subdomains"`
}

type sendsTo struct {
	Name            string                       `json:"name"`
	AddressSpaces   list[connector.AddressSpace] `json:"address_spaces"`
	SmartHosts      list[string]                 `json:"smart_hosts"`
	Port            int                          `json:"port"`
	TLS             connector.TLSLevel           `json:"tls"`
	ImplicitTLS     bool                         `json:"implicit_tls"`
	LogsOn          bool                         `json:"logs_on"`
	MaxMessageBytes int64                        `json:"max_message_bytes"`
	MaxConnections  int                          `json:"max_connections"`
}

func (h *handler) status(ctx context.Context) *status {
	r := h.cfg.Relay
	l := r.Load(ctx)
	s := &status{
		Hostname: r.Hostname(),
		Load: load{
			Level:  l.Level,
			Queue:  gauge{l.QueueLevel, l.Queue},
			Memory: gauge{l.MemoryLevel, l.Memory},
			Disk:   gauge{l.DiskLevel, l.Disk},
		},
		AcceptedDomains: first(maxDomains, r.AcceptedDomains().Domains(), showDomain),
		SendConnectors:  first(maxConnectors, r.SendConnectors(), showSend),
	}
	s.Relays.Rank, s.Relays.Live = r.Nodes()
	offersTLS := r.OffersTLS()
	s.Connectors = first(maxConnectors, r.Connectors(), func(c *connector.Connector) receive {
		return showReceive(c, offersTLS)
	})
	if stats, err := r.Stats(ctx); err != nil {
		h.cfg.Logger.Error("queue totals not known", "err", err)
	} else {
		s.Queue = &queue{stats.Messages, stats.Deliveries, stats.Leased, stats.Bytes}
	}
	h.describe(ctx, s)
	s.Poison = h.poison(ctx)
	return s
}

func showReceive(c *connector.Connector, offersTLS bool) receive {
	l := c.Limits.WithDefaults(c.Usage)
	return receive{
		Name: c.Name, Usage: c.Usage, TLS: tlsOf(c, offersTLS),
		AuthMechanisms: c.AuthMechanisms, PermissionGroups: c.PermissionGroups,
		Bindings:     first(maxItems, c.Bindings, same),
		RemoteRanges: first(maxItems, c.RemoteIPRanges, same),
		Grants:       first(maxItems, c.Grants, func(g connector.Grant) grant { return grant(g) }),
		Limits: limits{
			l.MaxMessageBytes, l.MaxRecipients, l.MaxConnections, l.MaxConnectionsPerSource,
			l.ConnectionRate,
			l.MessageRate, l.MessageRateBy,
		},
	}
}

// tlsOf says when clients of a connector come into TLS.
func tlsOf(c *connector.Connector, offersTLS bool) string {
	suppressed := slices.ContainsFunc(c.SuppressedKeywords, func(k string) bool {
		return strings.EqualFold(k, "STARTTLS")
	})
	switch {
	case !offersTLS || !c.AuthMechanisms.Has(connector.TLS):
		return "none"
	case c.ImplicitTLS:
		return "implicit"
	case suppressed:
		return "none"
	case c.RequireTLS:
		return "STARTTLS required"
	}
	return "STARTTLS offered"
}

func showDomain(d domains.AcceptedDomain) accepted {
	return accepted{d.Domain, d.Type, d.MatchSubdomains}
}

func showSend(c *connector.SendConnector) sendsTo {
	d := c.WithDefaults()
	return sendsTo{
		Name: d.Name, Port: d.Port, TLS: d.TLS, ImplicitTLS: d.ImplicitTLS,
		LogsOn:          d.Username != "",
		AddressSpaces:   first(maxItems, d.AddressSpaces, same),
		SmartHosts:      first(maxItems, d.Hosts, same),
		MaxMessageBytes: d.MaxMessageBytes, MaxConnections: d.MaxConnections,
	}
}
