package policy

import "github.com/postern-mail/postern/connector"

// ReplyID names a reply by which the relay refuses. The texts are constant:
// nothing of an internal error reaches the wire.
type ReplyID uint8

// The replies, in the order of a session.
const (
	// To a connection.
	NoService ReplyID = iota
	NoClientService
	NoAccess
	NoProxyService
	TooManyConnections
	TooManyOfSource
	ConnectionRateExceeded
	SourceRateExceeded
	Crowded
	EarlyTalker
	NoWebServer
	SecondProxyHeader

	// To a line that is no command, and to what is out of order.
	UnknownCommand
	NotImplemented
	LineTooLong
	BareLineEnd
	BadCharacter
	BadArguments
	UnknownParameter
	TooManyErrors
	TooManyRefused
	TooManyUseless

	// To HELO, STARTTLS and XCLIENT.
	BadHello
	HelloFirst
	MustStartTLS
	MustEncryptNow
	SecondStartTLS
	NoXClient
	SecondXClient
	InTransaction

	// To AUTH.
	AuthNotOffered
	AuthNeedsTLS
	AuthUnknown
	AlreadyLoggedOn
	AuthInTransaction
	NotBase64
	BadResponse
	AuthCancelled
	BadCredentials
	AuthFailed
	TooManyLogons
	TooManyFailures

	// To MAIL.
	BadMail
	BadSender
	SenderNeedsUTF8
	SecondMail
	NotAuthenticated
	MayNotSubmit
	AnonymousSender
	ClientSender
	TooLarge
	RateExceeded
	NoRoom

	// To RCPT.
	MailFirst
	BadRcpt
	BadRecipient
	RecipientNeedsUTF8
	UnableToRelay
	UnknownUser
	LookupFailed
	TooManyRecipients

	// To DATA and BDAT.
	RcptFirst
	NoRecipients
	BinaryNeedsBDAT
	OnlyBDAT
	BadChunkSize
	ContentBehindData
	BareContent

	// To a message.
	Loop
	HeaderTooLarge
	NoFrom
	TwoFrom
	TwoSender
	UnreadableFrom
	UnreadableSender
	TooManyFields
	UnclearParts
	BareLine
	NUL
	BadKey
	KeyReused
	SendingLimit
	CredentialChanged
	CredentialInvalid

	// To a session that is at its end.
	ShuttingDown
	ConnectionTimedOut
	InputTimedOut

	// To a fault of the relay or of the application.
	Internal
	ServerError
	TimedOut
	Unanswered
	Panicked
)

// table has what goes on the wire.
var table = [...]struct {
	code           int
	enhanced, text string
}{
	NoService:       {421, "4.3.2", "Service not available"},
	NoClientService: {421, "4.3.2", "Service not available for this client"},
	NoAccess:        {554, "5.7.1", "No service for this address"},
	NoProxyService:  {550, "5.7.1", "No service for the proxy itself"},
	TooManyConnections: {
		421, "4.3.2", "The maximum number of concurrent connections has exceeded a limit, " +
			"closing transmission channel",
	},
	TooManyOfSource: {
		421, "4.3.2", "The maximum number of concurrent connections has exceeded a " +
			"per-source limit, closing transmission channel",
	},
	ConnectionRateExceeded: {
		421, "4.3.2", "The connection rate has exceeded a limit, closing transmission channel",
	},
	SourceRateExceeded: {
		421, "4.3.2", "The connection rate has exceeded a per-source limit, closing " +
			"transmission channel",
	},
	Crowded: {
		421, "4.7.1", "Too many different clients behind one address, closing transmission channel",
	},
	EarlyTalker: {
		421, "4.7.0", "Data sent before the greeting, closing transmission channel",
	},
	NoWebServer: {421, "4.7.0", "This is not a web server"},
	SecondProxyHeader: {
		421, "4.7.0", "A second PROXY header, closing transmission channel",
	},

	UnknownCommand:   {500, "5.3.3", "Unrecognized command"},
	NotImplemented:   {502, "5.5.1", "Command not implemented"},
	LineTooLong:      {500, "5.5.6", "Line too long"},
	BareLineEnd:      {500, "5.5.2", "Line must end with CRLF"},
	BadCharacter:     {500, "5.5.2", "Invalid character in command"},
	BadArguments:     {501, "5.5.4", "Invalid arguments"},
	UnknownParameter: {555, "5.5.4", "Unsupported parameter"},
	TooManyErrors:    {421, "4.7.0", "Too many errors on this connection"},
	TooManyRefused: {
		421, "4.7.0", "Too many refused commands on this connection",
	},
	TooManyUseless: {421, "4.7.0", "Too many commands without a message"},

	BadHello:       {501, "5.5.4", "Invalid domain name"},
	HelloFirst:     {503, "5.5.1", "Send hello first"},
	MustStartTLS:   {530, "5.7.0", "Must issue a STARTTLS command first"},
	MustEncryptNow: {530, "5.7.0", "TLS is required"},
	SecondStartTLS: {503, "5.5.1", "TLS already active"},
	NoXClient:      {550, "5.7.1", "Not authorized to use XCLIENT"},
	SecondXClient: {
		421, "4.7.0", "XCLIENT from a client that has been named, closing transmission channel",
	},
	InTransaction: {503, "5.5.1", "Mail transaction in progress"},

	AuthNotOffered: {502, "5.5.1", "AUTH is not offered"},
	AuthNeedsTLS: {
		538, "5.7.11", "Encryption required for requested authentication mechanism",
	},
	AuthUnknown:     {504, "5.7.4", "Unrecognized authentication type"},
	AlreadyLoggedOn: {503, "5.5.1", "Already authenticated"},
	AuthInTransaction: {
		503, "5.5.1", "AUTH is not allowed during a mail transaction",
	},
	NotBase64:      {501, "5.5.2", "Cannot decode response"},
	BadResponse:    {501, "5.5.2", "Invalid response"},
	AuthCancelled:  {501, "5.7.0", "Authentication cancelled"},
	BadCredentials: {535, "5.7.8", "Authentication unsuccessful"},
	AuthFailed:     {454, "4.7.0", "Temporary authentication failure"},
	TooManyLogons: {
		454, "4.7.0", "Too many failed logons, please try again later",
	},
	TooManyFailures: {421, "4.7.0", "Too many failed logons on this connection"},

	BadMail:          {501, "5.5.4", "Invalid arguments, expected FROM:<address>"},
	BadSender:        {501, "5.1.7", "Invalid address"},
	SenderNeedsUTF8:  {550, "5.6.7", "Non-ASCII addresses need SMTPUTF8"},
	SecondMail:       {503, "5.5.1", "Sender already specified"},
	NotAuthenticated: {530, "5.7.1", "Client was not authenticated"},
	MayNotSubmit: {
		550, "5.7.1", "Client does not have permission to submit mail to this server",
	},
	AnonymousSender: {
		550, "5.7.1", "Anonymous client does not have permissions to send as this sender",
	},
	ClientSender: {
		550, "5.7.60", "Client does not have permissions to send as this sender",
	},
	TooLarge: {552, "5.3.4", "Message size exceeds fixed maximum message size"},
	RateExceeded: {
		421, "4.4.2", "Message submission rate for this client has exceeded the configured limit",
	},
	NoRoom: {452, "4.3.1", "Insufficient system resources"},

	MailFirst:          {503, "5.5.1", "Need MAIL command first"},
	BadRcpt:            {501, "5.5.4", "Invalid arguments, expected TO:<address>"},
	BadRecipient:       {501, "5.1.3", "Invalid address"},
	RecipientNeedsUTF8: {553, "5.6.7", "Non-ASCII addresses need SMTPUTF8"},
	UnableToRelay: {
		550, "5.7.54", "Unable to relay recipient in non-accepted domain",
	},
	UnknownUser:       {550, "5.1.1", "User unknown"},
	LookupFailed:      {451, "4.3.0", "Recipient lookup failed, try again later"},
	TooManyRecipients: {452, "4.5.3", "Too many recipients"},

	RcptFirst:       {503, "5.5.1", "Need RCPT command first"},
	NoRecipients:    {554, "5.5.1", "No valid recipients"},
	BinaryNeedsBDAT: {503, "5.5.1", "BINARYMIME needs BDAT"},
	OnlyBDAT: {
		503, "5.5.1", "Only BDAT continues a message that began with BDAT",
	},
	BadChunkSize: {
		501, "5.5.4", "Invalid chunk size, closing transmission channel",
	},
	ContentBehindData: {
		421, "4.7.0", "Content sent behind a refused DATA, closing transmission channel",
	},
	BareContent: {
		550, "5.6.11", "Bare CR, bare LF and NUL are not allowed in a message",
	},

	Loop: {554, "5.4.6", "Hop count exceeded - possible mail loop"},
	HeaderTooLarge: {
		552, "5.3.4", "Message header size exceeds fixed maximum size",
	},
	NoFrom:    {550, "5.6.0", "Message has no From field"},
	TwoFrom:   {550, "5.6.0", "Message has more than one From field"},
	TwoSender: {550, "5.6.0", "Message has more than one Sender field"},
	UnreadableFrom: {
		550, "5.6.0", `Address in the From field cannot be read, write it as "Name" ` +
			"<user@example.com>",
	},
	UnreadableSender: {
		550, "5.6.0", `Address in the Sender field cannot be read, write it as "Name" ` +
			"<user@example.com>",
	},
	TooManyFields: {
		550, "5.6.0", "Message has too many header fields of a kind",
	},
	UnclearParts: {550, "5.6.0", "Parts of the message cannot be told apart"},
	BareLine: {
		550, "5.6.11", "Bare CR, bare LF and NUL are not allowed in a header",
	},
	NUL: {550, "5.6.11", "NUL is not allowed in a message"},
	BadKey: {
		550, "5.6.0", "Idempotency-Key is not one field of 1 to 255 printable characters",
	},
	KeyReused:         {550, "5.5.4", "Idempotency-Key was used for another message"},
	SendingLimit:      {450, "4.7.1", "Sending limit reached, try again later"},
	CredentialChanged: {421, "4.7.0", "Credential has changed, log on again"},
	CredentialInvalid: {550, "5.7.1", "Credential is no longer valid"},

	ShuttingDown:       {421, "4.3.2", "Service shutting down, closing transmission channel"},
	ConnectionTimedOut: {421, "4.4.1", "Connection timed out"},
	InputTimedOut:      {421, "4.4.2", "Timeout waiting for client input"},

	Internal: {451, "4.3.0", "Temporary server error, try again later"},
	ServerError: {
		451, "4.3.0", "Temporary server error, please try again later",
	},
	TimedOut: {451, "4.4.5", "Server timed out, try again later"},
	Unanswered: {
		421, "4.3.0", "Temporary server error, closing transmission channel",
	},
	Panicked: {421, "4.3.0", "Internal error"},
}

// Reply makes the reply. Each call makes a new value, so that a cause can be
// attached.
func (id ReplyID) Reply() *Reply {
	r := &table[id]
	return &Reply{Code: r.code, Enhanced: r.enhanced, Text: r.text}
}

// Because makes the reply with its cause.
func (id ReplyID) Because(cause error) *Reply { return id.Reply().Because(cause) }

// Missing makes the reply to a client that lacks a right.
func (id ReplyID) Missing(right connector.Right) *Reply { return id.Reply().Missing(right) }
