"""Every address of the site."""

from django.contrib import admin
from django.urls import include, path

from portal import (
    account_views,
    capacity,
    control_room,
    exports,
    gallery,
    health,
    metrics,
    people,
    release_rehearsals,
    release_reports,
    saved,
    second_factor_desk,
    views,
    who_may,
)

urlpatterns = [
    path("", include("scheduling.urls")),
    path("glossary/", views.GlossaryView.as_view(), name="glossary"),
    path("health/live", health.live, name="health-live"),
    path("health/ready", health.ready, name="health-ready"),
    path("metrics", metrics.metrics, name="metrics"),
    path("invitation/<str:token>/", views.InvitationView.as_view(), name="invitation"),
    path("people/", people.PeopleView.as_view(), name="people"),
    path("people/second-factor/", account_views.RuleView.as_view(), name="second-factor-rule"),
    path("people/second-person/", people.SecondPersonView.as_view(), name="second-person-rule"),
    path("people/invite/", people.InviteColleagueView.as_view(), name="invite-colleague"),
    path("people/<int:pk>/", people.ColleagueView.as_view(), name="person"),
    path(
        "people/invitations/<int:pk>/",
        people.ColleaguesInvitationView.as_view(),
        name="colleagues-invitation",
    ),
    path("exports/", exports.ExportsView.as_view(), name="exports"),
    path("exports/<int:pk>/", exports.OneExportView.as_view(), name="one-export"),
    path("exports/<int:pk>/file", exports.ExportFileView.as_view(), name="export-file"),
    path("filters/", saved.SavedFiltersView.as_view(), name="saved-filters"),
    path("filters/<int:pk>/", saved.SavedFilterView.as_view(), name="saved-filter"),
    path("record/", people.RecordView.as_view(), name="record"),
    path("record.csv", people.ExportRecordView.as_view(), name="export-record"),
    path("accounts/", include("portal.account_urls")),
    path("admin/control-room/", admin.site.admin_view(control_room.page), name="control-room"),
    path(
        "admin/releases/<int:release_id>/report/",
        admin.site.admin_view(release_reports.page),
        name="release-report",
    ),
    path(
        "admin/releases/<int:release_id>/pack/",
        admin.site.admin_view(release_reports.pack),
        name="evidence-pack",
    ),
    path(
        "admin/releases/<int:release_id>/bad-hubs/",
        admin.site.admin_view(release_reports.bad_hubs),
        name="bad-hubs",
    ),
    path(
        "admin/releases/<int:release_id>/bad-hubs.csv",
        admin.site.admin_view(release_reports.bad_hubs_file),
        name="bad-hubs-file",
    ),
    path(
        "admin/releases/<int:release_id>/rollout.csv",
        admin.site.admin_view(release_reports.rollout_file),
        name="rollout-file",
    ),
    path(
        "admin/releases/<int:release_id>/outcomes.csv",
        admin.site.admin_view(release_reports.outcomes_file),
        name="outcomes-file",
    ),
    path(
        "admin/releases/<int:release_id>/rehearsals/",
        admin.site.admin_view(release_rehearsals.page),
        name="rehearsals",
    ),
    path(
        "admin/releases/<int:release_id>/rehearsals/<int:rehearsal_id>/",
        admin.site.admin_view(release_rehearsals.one),
        name="rehearsal",
    ),
    path(
        "admin/releases/<int:release_id>/rehearsals/<int:rehearsal_id>/stop/",
        admin.site.admin_view(release_rehearsals.stop),
        name="stop-rehearsal",
    ),
    path(
        "admin/people/<int:user_id>/second-factor/",
        admin.site.admin_view(second_factor_desk.page),
        name="second-factor-of",
    ),
    path(
        "admin/suppliers/<int:supplier_id>/second-factor/",
        admin.site.admin_view(second_factor_desk.rule),
        name="second-factor-of-supplier",
    ),
    path("evidence-key.pem", release_reports.key, name="evidence-key"),
    path("admin/capacity/", admin.site.admin_view(capacity.page), name="capacity"),
    path("admin/capacity/weeks.csv", admin.site.admin_view(capacity.file), name="capacity-file"),
    path("admin/capacity/suppliers.csv", admin.site.admin_view(capacity.shares_file), name="capacity-shares"),
    path("admin/health/", admin.site.admin_view(health.page), name="health"),
    path("admin/gallery/", admin.site.admin_view(gallery.page), name="gallery"),
    path("admin/gallery/e-mails/", admin.site.admin_view(gallery.emails), name="gallery-emails"),
    path(
        "admin/gallery/e-mails/<slug:name>/",
        admin.site.admin_view(gallery.email),
        name="gallery-email",
    ),
    path("admin/roles/", admin.site.admin_view(who_may.page), name="roles"),
    path("admin/", admin.site.urls),
]
