package hub

import (
	"github.com/nats-io/nats-server/v2/server"

	"hither/deploy/fleet"
	"hither/deploy/fleet/bus"
)

// Permissions are the subjects that somebody may publish to and subscribe to.
type Permissions struct {
	Publish, Subscribe []string
}

// PermissionsOf returns what a peer may do at the hub.
func PermissionsOf(p fleet.Peer) Permissions {
	own := Permissions{Subscribe: []string{bus.Inbox(p) + ".>"}}
	switch p.Role {
	case fleet.RoleEdge, fleet.RoleOrigin, fleet.RoleDNS:
		own.Publish = []string{
			bus.UpSubject(p.Role, p.Name, "*"), bus.ReadSubject(p.Role, p.Name, "*"),
			// Answers to calls. Nobody can guess an inbox in which somebody waits; NATS's own permission to answer would
			// let one stolen node name the subject to which another one may then publish.
			bus.Inbox(fleet.Peer{Role: fleet.RoleOperator, Name: "*"}) + ".>", bus.Inbox(fleet.Peer{Role: fleet.RoleOrigin, Name: "*"}) + ".>",
		}
		own.Subscribe = append(own.Subscribe, "live.>", bus.CallSubject(p.Role, p.Name))
		if p.Role == fleet.RoleDNS { // which steers by what edges say, and as the other servers do
			own.Subscribe = append(own.Subscribe, bus.UpSubject(fleet.RoleEdge, "*", bus.UpReport), bus.UpSubject(fleet.RoleEdge, "*", bus.UpRTT),
				bus.UpSubject(fleet.RoleDNS, "*", bus.UpReport))
		}
	case fleet.RoleOperator:
		own.Publish = []string{
			bus.ControlSubject(p.Name, "*"), bus.CallSubject("*", "*"), bus.ReadSubject(p.Role, p.Name, "*"),
		}
		own.Subscribe = append(own.Subscribe, "live.>", "up.>")
	}
	return own
}

// ControlPermissions are those of the control.
func ControlPermissions() Permissions {
	return Permissions{Publish: []string{">"}, Subscribe: []string{">"}}
}

// permissions makes them NATS's own.
func permissions(p Permissions) *server.Permissions {
	out := &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: p.Publish},
		Subscribe: &server.SubjectPermission{Allow: p.Subscribe},
	}
	if len(p.Publish) == 0 {
		out.Publish = &server.SubjectPermission{Deny: []string{">"}}
	}
	return out
}
