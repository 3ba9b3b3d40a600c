package domains

import "context"

// Type says who answers for the unknown recipients of an accepted domain.
type Type uint8

const (
	// Authoritative: this relay knows every recipient; unknown ones are refused.
	Authoritative Type = iota
	// InternalRelay: known recipients are delivered here, unknown ones are passed on.
	InternalRelay
	// ExternalRelay: every recipient is passed on.
	ExternalRelay
)

// AcceptedDomain is a domain the relay accepts mail for from anybody who may submit.
type AcceptedDomain struct {
	// Domain is "example.com" for that domain alone, or "*.example.com" for it and every subdomain.
	Domain string
	// Type decides what happens to unknown recipients. Defaults to Authoritative.
	Type Type
	// MatchSubdomains makes a plain Domain cover its subdomains as well. Defaults to false.
	MatchSubdomains bool
	// Recipients tells which recipients exist. It must be set for an
	// Authoritative domain, may be set for InternalRelay, and must be nil for ExternalRelay.
	Recipients Resolver
}

// Resolver tells whether a recipient exists.
type Resolver interface {
	// Resolve reports whether the mailbox exists. An error means that the
	// answer is not known now: it makes a temporary reply, never a refusal.
	Resolve(ctx context.Context, a Address) (known bool, err error)
}

// ResolverFunc is an adapter to use a function as a Resolver.
type ResolverFunc func(ctx context.Context, a Address) (bool, error)

// Resolve calls f.
func (f ResolverFunc) Resolve(ctx context.Context, a Address) (bool, error) { return f(ctx, a) }

// StaticRecipients returns a Resolver of a fixed list of local parts, compared without regard to case.
func StaticRecipients(locals ...string) Resolver { panic("domains: StaticRecipients") }

// AnyRecipient returns a Resolver to which every recipient exists.
func AnyRecipient() Resolver { panic("domains: AnyRecipient") }

// Table finds the accepted domain of an address. It is immutable and safe for concurrent use.
type Table struct{}

// NewTable checks the list and builds a table. The error holds every fault,
// joined with [errors.Join], each a *[FieldError] with a path such as "[1].Domain".
func NewTable(list ...AcceptedDomain) (*Table, error) { panic("domains: NewTable") }

// Lookup returns the entry for a domain in the form of [Address.Domain]; the most specific entry wins.
// It allocates nothing. A nil Table holds nothing.
func (t *Table) Lookup(domain string) (*AcceptedDomain, bool) { panic("domains: Lookup") }

// FieldError is one fault of a configuration: the path of the field and what is wrong with it.
type FieldError struct {
	Field string // "[1].Domain"
	Err   error
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Err.Error() }
func (e *FieldError) Unwrap() error { return e.Err }
