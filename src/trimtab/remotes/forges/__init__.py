"""Forges: pull requests at GitHub, GitLab and Gitea or Forgejo, by a token. What each calls things is in `dialects`."""
