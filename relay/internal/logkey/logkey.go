// Package logkey has the keys of the relay's log, one for each concept. Users
// read them in the overview of package relay.
package logkey

// The keys.
const (
	Address     = "address"
	Addresses   = "addresses"
	Attempt     = "attempt"
	Certificate = "certificate" // the name in a client's certificate
	Class       = "class"       // of a failure
	Code        = "code"        // the code of a reply
	Command     = "command"     // what a client has sent
	Connector   = "connector"   // the receive connector that a message came by
	Consumer    = "consumer"
	Credential  = "credential" // the id of the credential
	Cursor      = "cursor"
	Domain      = "domain"
	Dropped     = "dropped"
	Enhanced    = "enhanced" // its enhanced code
	Err         = "err"      // why something failed
	Errors      = "errors"
	Expires     = "expires"
	File        = "file"
	From        = "from" // the reverse-path
	HELO        = "helo" // what a client calls itself
	Host        = "host"
	Kind        = "kind"
	Local       = "local"
	Mechanism   = "mechanism"
	Messages    = "messages"
	Name        = "name"
	Next        = "next"
	Panic       = "panic" // what a function has panicked with
	Pause       = "pause"
	Proxy       = "proxy"      // the host that told it
	QueueID     = "queue_id"   // the id of a message
	Reason      = "reason"     // why something was refused or left out
	Recipients  = "recipients" // how many there are
	Refused     = "refused"
	Remote      = "remote" // the address of a client
	Reply       = "reply"
	Report      = "report"
	Retry       = "retry"
	Sender      = "sender"  // the domain of a reverse-path
	Session     = "session" // the id of a session
	Share       = "share"   // what is left of a rate
	Site        = "site"    // the mail exchangers of one or more domains
	Size        = "size"    // in bytes
	Source      = "source"  // the local address of a connection
	Stack       = "stack"   // where
	Stage       = "stage"   // where a client was refused
	Stream      = "stream"
	Throttle    = "throttle" // its id
	TLS         = "tls"      // version and suite
	To          = "to"       // a recipient
	User        = "user"     // who has logged on
)
