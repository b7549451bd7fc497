"""Who: the actor's specification, photographs, consent and stored artifacts."""
