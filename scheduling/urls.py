"""The addresses of a Supplier's pages."""

from django.urls import path, register_converter

from hubs.identifiers import format_eui64, parse_eui64
from scheduling.views import (
    bookings,
    consents,
    first_steps,
    groups,
    home,
    hubs,
    proposals,
    releases,
    results,
    selections,
    uploads,
    windows,
)


class ReferenceConverter:
    """A booking's reference."""

    regex = "BK-[0-9A-Z]{4}-[0-9A-Z]{4}"

    def to_python(self, value: str) -> str:
        """Keep it as it is."""
        return value

    def to_url(self, value: str) -> str:
        """Keep it as it is."""
        return value


class ChfIdConverter:
    """A CHF ID as it is shown: 16 hexadecimal digits with hyphens."""

    regex = "[0-9A-Fa-f]{2}(?:-[0-9A-Fa-f]{2}){7}"

    def to_python(self, value: str) -> int:
        """Read the number that the database keeps."""
        return parse_eui64(value)

    def to_url(self, value: int) -> str:
        """Write it as it is shown."""
        return format_eui64(value)


register_converter(ReferenceConverter, "reference")
register_converter(ChfIdConverter, "chf_id")

app_name = "scheduling"
urlpatterns = [
    path("", home.HomeView.as_view(), name="home"),
    path("first-steps/", first_steps.FirstStepsView.as_view(), name="first-steps"),
    path("releases/<int:pk>/", releases.ReleaseView.as_view(), name="release"),
    path("releases/<int:pk>/bad-hubs.csv", releases.BadHubsView.as_view(), name="bad-hubs"),
    path("releases/<int:pk>/rollout.csv", releases.RolloutView.as_view(), name="rollout"),
    path("releases/<int:pk>/book/", selections.BookView.as_view(), name="book"),
    path("selections/<uuid:pk>/", selections.WhenView.as_view(), name="when"),
    path("selections/<uuid:pk>/room.csv", selections.RoomView.as_view(), name="room"),
    path("selections/<uuid:pk>/check/", selections.CheckView.as_view(), name="check"),
    path("selections/<uuid:pk>/reading/", selections.ReadingView.as_view(), name="reading"),
    path("selections/<uuid:pk>/refused/", selections.RefusedView.as_view(), name="refused"),
    path("bookings/", bookings.BookingsView.as_view(), name="bookings"),
    path("bookings/<reference:reference>/", bookings.BookingView.as_view(), name="booking"),
    path("bookings/<reference:reference>/progress/", bookings.ProgressView.as_view(), name="progress"),
    path("bookings/<reference:reference>/cancel/", bookings.CancelView.as_view(), name="cancel"),
    path("bookings/<reference:reference>/change/", bookings.ChangeView.as_view(), name="change"),
    path("bookings/<reference:reference>/hubs/", bookings.BookedHubsView.as_view(), name="booked-hubs"),
    path("bookings/<reference:reference>.csv", bookings.ExportView.as_view(), name="export"),
    path("bookings/<reference:reference>.ics", bookings.CalendarView.as_view(), name="calendar"),
    path("proposals/", proposals.ProposalsView.as_view(), name="proposals"),
    path("proposals/<int:pk>/", proposals.ProposalView.as_view(), name="proposal"),
    path("consents/", consents.ConsentsView.as_view(), name="consents"),
    path("consents.csv", consents.ConsentsExportView.as_view(), name="export-consents"),
    path("consents/<int:pk>/", consents.ConsentView.as_view(), name="consent"),
    path("consents/<int:pk>/hubs.csv", consents.ConsentHubsView.as_view(), name="consent-hubs"),
    path("consents/<int:pk>/object/", consents.ObjectView.as_view(), name="object"),
    path("windows/", windows.WindowsView.as_view(), name="windows"),
    path("windows/new/", windows.NewWindowView.as_view(), name="new-window"),
    path("windows/week/", windows.WeekView.as_view(), name="week"),
    path("windows/upload/", windows.UploadWindowsView.as_view(), name="upload-windows"),
    path("windows/example.csv", windows.ExampleWindowsView.as_view(), name="example-windows"),
    path("windows/<int:pk>/", windows.EditWindowView.as_view(), name="edit-window"),
    path("windows/<int:pk>/delete/", windows.DeleteWindowView.as_view(), name="delete-window"),
    path("groups/", groups.GroupsView.as_view(), name="groups"),
    path("groups/new/", groups.NewGroupView.as_view(), name="new-group"),
    path("groups/<int:pk>/", groups.GroupView.as_view(), name="group"),
    path("groups/<int:pk>/hubs/", groups.MembersView.as_view(), name="group-hubs"),
    path("groups/<int:pk>/rename/", groups.RenameGroupView.as_view(), name="rename-group"),
    path("groups/<int:pk>/pilots/", groups.PilotView.as_view(), name="pilot-group"),
    path("groups/<int:pk>/delete/", groups.DeleteGroupView.as_view(), name="delete-group"),
    path("uploads/<uuid:pk>/", uploads.UploadView.as_view(), name="upload"),
    path("uploads/<uuid:pk>/refused/", uploads.UploadRefusedView.as_view(), name="upload-refused"),
    path("results/", results.ResultsView.as_view(), name="results"),
    path("results.csv", results.ExportResultsView.as_view(), name="export-results"),
    path("results/reasons.csv", results.ExportReasonsView.as_view(), name="export-reasons"),
    path("hubs/", hubs.HubsView.as_view(), name="hubs"),
    path("hubs/<chf_id:chf_id>/", hubs.HubView.as_view(), name="hub"),
]
