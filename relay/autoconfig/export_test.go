package autoconfig

var (
	ReadRequest = readRequest
	ErrRequest  = errRequest
	ErrSchema   = errSchema
	UUID5       = uuid5
)
