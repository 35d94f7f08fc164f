package gateway

import (
	"fmt"
	"time"
)

// mostProblems is how many instances are told of one by one.
const mostProblems = 8

// problems are what keeps the application from answering as it should: instances that are down or out, too few that are
// left, names that lead nowhere.
func (a *application) problems() []string {
	var out []string
	if s, ok := a.looked(); ok {
		switch {
		case s.Error != "":
			out = append(out, fmt.Sprintf("app.discover: %s cannot be looked up, what was found before is used: %s", s.Name, s.Error))
		case len(s.Found) == 0 && !s.Looked.IsZero():
			p := fmt.Sprintf("app.discover: nothing that may be used is behind %s, type %s", s.Name, s.Type)
			if a.missing() {
				p += "; until there is, the servers from before are used"
			}
			out = append(out, p)
		}
		for _, p := range s.Problems {
			out = append(out, "app.discover: "+p)
		}
	}
	s := a.up.Status()
	well, of := 0, 0
	for _, g := range s.Balance.Groups {
		well, of = well+g.Well, of+g.Of
	}
	switch {
	case of == 0:
		out = append(out, "no instance takes requests")
	case s.Balance.Panic:
		out = append(out, fmt.Sprintf("only %d of %d instances are well, so all are used", well, of))
	}
	more := 0
	for _, i := range s.Balance.Instances {
		p := ""
		switch i.State {
		case "down":
			p = fmt.Sprintf("instance %s is down: %s", i.ID, i.Why)
		case "ejected":
			p = fmt.Sprintf("instance %s is out until %s: %s", i.ID, i.Until.UTC().Format(time.RFC3339), i.Why)
		case "trial":
			p = fmt.Sprintf("instance %s is on trial: %s", i.ID, i.Why)
		case "well", "warming":
			// The last of a group is never taken out, however bad it is.
			if t := s.Senders[i.ID]; !t.Up && t.Problem != "" {
				p = fmt.Sprintf("instance %s cannot be reached: %s", i.ID, t.Problem)
			}
		}
		if p == "" {
			continue
		}
		if more++; more <= mostProblems {
			out = append(out, p)
		}
	}
	if more -= mostProblems; more > 0 {
		out = append(out, fmt.Sprintf("and %d more instances are down or out", more))
	}
	return out
}
