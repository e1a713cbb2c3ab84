-- How many there are of a project is counted in this: the covering index is wide, and a long past fills many of its pages.
CREATE INDEX delegations_counted ON delegations (project, state);
