package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/connector/exchange"
	"github.com/postern-mail/postern/domains"
)

// file is the gateway's configuration file, as far as a dump fills it.
type file struct {
	Hostname      string           `toml:"hostname"`
	DefaultDomain string           `toml:"default_domain,omitempty"`
	Spool         string           `toml:"spool"`
	Users         string           `toml:"users,omitempty"`
	TLS           *certificate     `toml:"tls"`
	Mailboxes     *mailboxes       `toml:"mailboxes"`
	Connectors    []receive        `toml:"connector"`
	Domains       []acceptedDomain `toml:"accepted_domain"`
	Send          []send           `toml:"send_connector"`
}

type certificate struct {
	Certificate string `toml:"certificate"`
	Key         string `toml:"key"`
}

type mailboxes struct {
	Deliver string `toml:"deliver"`
}

type receive struct {
	Name               string         `toml:"name"`
	Disabled           bool           `toml:"disabled,omitempty"`
	Bindings           []string       `toml:"bindings"`
	RemoteIPRanges     []string       `toml:"remote_ip_ranges"`
	PermissionGroups   []string       `toml:"permission_groups"`
	AuthMechanisms     []string       `toml:"auth_mechanisms"`
	RequireTLS         bool           `toml:"require_tls,omitempty"`
	FQDN               string         `toml:"fqdn,omitempty"`
	Banner             string         `toml:"banner,omitempty"`
	SuppressedKeywords []string       `toml:"suppressed_keywords,omitempty"`
	Limits             map[string]any `toml:"limits,omitempty"`
	Grants             []grant        `toml:"grants,omitempty"`
}

type grant struct {
	Principal string   `toml:"principal"`
	Rights    []string `toml:"rights"`
	Deny      bool     `toml:"deny,omitempty"`
}

type acceptedDomain struct {
	Name           string `toml:"name"`
	Type           string `toml:"type"`
	RecipientsFile string `toml:"recipients_file,omitempty"`
	SkipLookup     bool   `toml:"skip_lookup,omitempty"`
}

type send struct {
	Name                  string   `toml:"name"`
	Disabled              bool     `toml:"disabled,omitempty"`
	AddressSpaces         []string `toml:"address_spaces"`
	SmartHosts            []string `toml:"smart_hosts,omitempty"`
	Port                  int      `toml:"port,omitzero"`
	TLS                   string   `toml:"tls"`
	TLSDomain             string   `toml:"tls_domain,omitempty"`
	Username              string   `toml:"username,omitempty"`
	PasswordFile          string   `toml:"password_file,omitempty"`
	AllowUnverifiedAuth   bool     `toml:"allow_unverified_auth,omitempty"`
	FQDN                  string   `toml:"fqdn,omitempty"`
	MaxMessageBytes       int64    `toml:"max_message_bytes,omitzero"`
	MessagesPerConnection int      `toml:"messages_per_connection,omitzero"`
}

// newFile returns the file for a result.
func newFile(r *exchange.Result, hostname string) *file {
	f := &file{Hostname: hostname, DefaultDomain: r.DefaultDomain, Spool: "spool"}
	for _, c := range r.Connectors {
		f.Connectors = append(f.Connectors, receiveOf(c))
		if c.AuthMechanisms.Has(connector.TLS) {
			f.TLS = &certificate{"cert.pem", "key.pem"}
		}
		if c.AuthMechanisms.Has(connector.BasicAuth) {
			f.Users = "users.htpasswd"
		}
	}
	for _, d := range r.AcceptedDomains {
		a := acceptedDomain{Name: d.Domain, Type: d.Type.String(), SkipLookup: d.SkipLookup}
		if d.MatchSubdomains {
			a.Name = "*." + d.Domain
		}
		if d.Type == domains.Authoritative {
			a.RecipientsFile = "recipients.txt"
			f.Mailboxes = &mailboxes{"maildir:mail"}
		}
		f.Domains = append(f.Domains, a)
	}
	for i, c := range r.SendConnectors {
		f.Send = append(f.Send, sendOf(c, fmt.Sprintf("password-%d.txt", i)))
	}
	return f
}

func (f *file) write(w io.Writer) error {
	enc := toml.NewEncoder(w)
	enc.Indent = ""
	return enc.Encode(f)
}

func receiveOf(c *connector.Connector) receive {
	to := receive{
		Name: c.Name, Disabled: c.Disabled, Bindings: texts(c.Bindings),
		RemoteIPRanges:   texts(c.RemoteIPRanges),
		PermissionGroups: []string{}, AuthMechanisms: words(c.AuthMechanisms),
		RequireTLS: c.RequireTLS, FQDN: c.FQDN, Banner: c.Banner,
		SuppressedKeywords: c.SuppressedKeywords, Limits: limits(c.Limits),
	}
	if c.PermissionGroups != 0 {
		to.PermissionGroups = words(c.PermissionGroups)
	}
	for _, g := range c.Grants {
		to.Grants = append(
			to.Grants,
			grant{Principal: g.Principal.String(), Rights: words(g.Rights), Deny: g.Deny},
		)
	}
	return to
}

func sendOf(c *connector.SendConnector, passwordFile string) send {
	to := send{
		Name: c.Name, Disabled: c.Disabled, AddressSpaces: texts(c.AddressSpaces),
		SmartHosts: c.Hosts, Port: c.Port,
		TLS: c.TLS.String(), TLSDomain: c.TLSDomain, Username: c.Username,
		AllowUnverifiedAuth: c.AllowUnverifiedAuth, FQDN: c.FQDN,
		MaxMessageBytes: c.MaxMessageBytes, MessagesPerConnection: c.MessagesPerConnection,
	}
	if c.Username != "" {
		to.PasswordFile = passwordFile
	}
	return to
}

// limits returns the limits that are set. The gateway's file has 0 or "0s" for
// what is switched off.
func limits(l connector.Limits) map[string]any {
	m := map[string]any{}
	for key, n := range map[string]int64{
		"max_message_bytes": l.MaxMessageBytes, "max_header_bytes": l.MaxHeaderBytes,
		"max_recipients": int64(l.MaxRecipients),
		"max_hops":       int64(l.MaxHops), "max_local_hops": int64(l.MaxLocalHops),
		"max_connections":                    int64(l.MaxConnections),
		"max_connections_per_source":         int64(l.MaxConnectionsPerSource),
		"max_connections_percent_per_source": int64(l.MaxConnectionsPercentPerSource),
		"message_rate":                       int64(l.MessageRate),
		"max_protocol_errors":                int64(l.MaxProtocolErrors),
		"max_logon_failures":                 int64(l.MaxLogonFailures),
	} {
		if n != 0 {
			m[key] = n
		}
	}
	for key, d := range map[string]time.Duration{
		"inactivity_timeout": l.InactivityTimeout, "connection_timeout": l.ConnectionTimeout,
		"tarpit": l.Tarpit, "auth_tarpit": l.AuthTarpit,
	} {
		if d != 0 {
			m[key] = max(d, 0).String()
		}
	}
	if l.MessageRateBy != connector.RateByAddress {
		m["message_rate_by"] = l.MessageRateBy.String()
	}
	return m
}

func texts[T fmt.Stringer](list []T) []string {
	all := make([]string, 0, len(list))
	for _, x := range list {
		all = append(all, x.String())
	}
	return all
}

// words returns the words of a bit set.
func words(set fmt.Stringer) []string { return strings.Split(set.String(), ", ") }
