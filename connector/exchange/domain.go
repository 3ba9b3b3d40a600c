package exchange

import (
	"strings"

	"github.com/postern-mail/postern/domains"
)

func (r *reader) acceptedDomain(o *object) {
	name := o.text("DomainName", "Address", "Domain", "SmtpDomain")
	if m, ok := o.values["domainname"].(map[string]any); ok && !strings.HasPrefix(name, "*") {
		if sub, _ := scalar(member(m, "IncludeSubDomains")); strings.EqualFold(sub, "true") {
			name = "*." + name
		}
	}
	if name == "" {
		o.fault("DomainName", "missing; do not select parameters when making the dump")
		return
	}
	o.label = domainLabel(name)
	d := domains.AcceptedDomain{Domain: name, MatchSubdomains: o.isTrue("MatchSubDomains")}
	isDefault := o.isTrue("Default")
	lookup, hasLookup := o.flag("AddressBookEnabled")
	word := o.choice(
		"DomainType",
		map[string]string{"0": "Authoritative", "1": "ExternalRelay", "2": "InternalRelay"},
	)
	if word == "" {
		o.require("DomainType")
	} else if t, err := domains.ParseType(word); err != nil {
		o.fault("DomainType", "%w", err)
	} else {
		d.Type = t
	}
	o.rest(domainRules(), []string{
		"AuthenticationType", "CanHaveCloudCache", "DualProvisioningEnabled", "EmailOnly",
		"EnableNego2Authentication", "ExternallyManaged",
		"FederatedOrganizationLink", "InitialDomain", "IsCoexistenceDomain",
		"IsDefaultFederatedDomain", "LiveIdInstanceType", "MailFlowPartner",
		"PendingCompletion", "PendingFederatedAccountNamespace", "PendingFederatedDomain",
		"PendingRemoval", "PerimeterDuplicateDetected",
		"RawAuthenticationType", "SmtpDaneMxValidationLastChecked",
	})
	if _, err := domains.ParseDomain(strings.TrimPrefix(name, "*.")); err != nil {
		if name != "*" {
			// Left out, anybody could send as an address in it.
			o.fault("DomainName", "%q is not the name of a domain", oneLine(name))
			return
		}
		o.note(
			"DomainName", "left out: a relay that accepts mail for every domain is an open relay",
		)
		return
	}
	if isDefault {
		if r.result.DefaultDomain != "" {
			o.note("Default", "there is another default domain before it, which is taken")
		} else {
			r.result.DefaultDomain = strings.TrimPrefix(name, "*.")
		}
	}
	// An address literal and a wildcard already say it.
	if strings.HasPrefix(name, "*.") || strings.HasPrefix(name, "[") {
		d.MatchSubdomains = false
	}
	switch {
	case d.Type == domains.Authoritative:
		r.note(
			o.label, "Recipients", "",
			"no dump has them; set Recipients, since unknown ones are refused",
		)
		if hasLookup && !lookup {
			d.SkipLookup = true
			o.note(
				"AddressBookEnabled",
				"unknown recipients are taken at RCPT and bounced later, but to a stranger no "+
					"report is sent; set SkipLookup to false to refuse them at once",
			)
		}
	case hasLookup && lookup:
		o.note(
			"AddressBookEnabled",
			"Exchange may refuse unknown recipients of this relay domain; here they are passed on",
		)
	}
	r.result.AcceptedDomains = append(r.result.AcceptedDomains, d)
}

func domainRules() []rule {
	return []rule{
		{
			"CatchAllRecipientID",
			"there is no mailbox that gets what nobody has; Recipients may know every address " +
				"instead",
			nil,
		},
		{
			"OutboundOnly", "mail is accepted for every accepted domain; leave it out to refuse it",
			nil,
		},
		{
			"SendingFromDomainDisabled",
			"no counterpart; take the addresses away from the users who own them", nil,
		},
		{"SendingToDomainDisabled", "no counterpart", nil},
	}
}
