"""What the region's doctors do: twenty specialties with their usual visits."""

from dataclasses import dataclass

from health_services.patients.models import Sex


@dataclass(frozen=True)
class Specialty:
    """A field: how many doctors it has, how long their visits take, and why people come.

    `visits` pair the reason with what the doctor noted; `group` is the length and the capacity of group sessions.
    """

    name: str
    doctors: int
    minutes: tuple[int, ...]
    qualifications: tuple[str, ...]
    visits: tuple[tuple[str, str], ...]
    ages: tuple[int, int] = (18, 120)
    sex: Sex | None = None
    group: tuple[int, int] | None = None


_STABLE = "Stable, no new findings. Continue as before, control in six months."

SPECIALTIES = (
    Specialty(
        "General Practice", 22, (15, 20), ("MD, Board Certified in Family Medicine", "DO, Family Medicine", "MD, MPH"),
        (
            ("Annual check-up", "Examination unremarkable. Laboratory ordered; results by post."),
            ("Cough and fever for four days", "Viral infection of the airways. Rest and fluids; back if fever lasts."),
            ("Blood pressure control", "128/82 mmHg at rest. Same dose, diary kept at home."),
            ("Back pain after moving house", "No red flags. Exercises shown, ibuprofen as needed for a week."),
            ("Renewal of a prescription", "Renewed for three months; tolerated well."),
        ),
        ages=(14, 120),
    ),
    Specialty(
        "Pediatrics", 10, (20, 30), ("MD, Board Certified in Pediatrics", "MD, FAAP"),
        (
            ("Well-child visit", "Growth along the 60th percentile, development as expected for the age."),
            ("Ear ache since last night", "Left eardrum reddened. Pain relief; review in two days."),
            ("Vaccination as scheduled", "Given in the left arm, tolerated well."),
            ("Rash on both arms", "Atopic eczema, mild. Emollient twice daily."),
        ),
        ages=(0, 17),
    ),
    Specialty(
        "Internal Medicine", 9, (30,), ("MD, Board Certified in Internal Medicine", "MD, FACP"),
        (
            ("Tired for several weeks", "Iron deficiency likely; blood count and ferritin taken."),
            ("Diabetes review", "HbA1c 6.9 %. Diet discussed, medication unchanged."),
            ("Results of the blood tests", "Results explained. LDL slightly raised, repeat in three months."),
        ),
    ),
    Specialty(
        "Gynecology", 8, (20, 30), ("MD, Board Certified in Obstetrics and Gynecology", "MD, FACOG"),
        (
            ("Annual examination", "Examination unremarkable, smear taken."),
            ("Advice on contraception", "Options and risks discussed; will decide until the next visit."),
            ("Prenatal visit, second trimester", "Heart tones regular, growth on date. Next scan in four weeks."),
        ),
        ages=(16, 50), sex=Sex.FEMALE,
    ),
    Specialty(
        "Dermatology", 7, (15, 20), ("MD, Board Certified in Dermatology", "MD, FAAD"),
        (
            ("Mole that changed its colour", "Dermoscopy harmless; photographed for comparison."),
            ("Skin cancer screening", "Whole body seen, nothing suspicious. Again in two years."),
            ("Acne", "Adapalene in the evening; effect expected after eight weeks."),
        ),
        ages=(10, 120),
    ),
    Specialty(
        "Cardiology", 7, (30, 45), ("MD, Board Certified in Cardiovascular Disease", "MD, PhD, FACC"),
        (
            ("Palpitations at night", "ECG in sinus rhythm. Holter monitor for 72 hours."),
            ("Echocardiogram", "Ejection fraction 60 %, valves competent."),
            ("Yearly control after stent", _STABLE),
        ),
        ages=(30, 120),
    ),
    Specialty(
        "Orthopedics", 6, (20, 30), ("MD, Board Certified in Orthopedic Surgery",),
        (
            ("Knee pain when climbing stairs", "Patellofemoral pain. Strengthening; X-ray only if it stays."),
            ("Control after wrist fracture", "Healed in good position, cast removed."),
            ("Shoulder stiff since winter", "Frozen shoulder, second stage. Physiotherapy ordered."),
        ),
        ages=(8, 120),
    ),
    Specialty(
        "Ophthalmology", 5, (15, 20), ("MD, Board Certified in Ophthalmology",),
        (
            ("Blurred vision", "Myopia increased by half a dioptre; new glasses ordered."),
            ("Glaucoma control", "Pressure 15/16 mmHg under drops. " + _STABLE),
        ),
        ages=(4, 120),
    ),
    Specialty(
        "Otolaryngology", 5, (15, 20), ("MD, Board Certified in Otolaryngology",),
        (
            ("Hearing test", "Mild loss of high tones on both sides."),
            ("Blocked nose for months", "Septum deviated to the left. Nasal steroid first."),
        ),
        ages=(3, 120),
    ),
    Specialty(
        "Neurology", 5, (30, 45), ("MD, Board Certified in Neurology", "MD, PhD"),
        (
            ("Migraine", "Five attacks a month. Prophylaxis begun, headache diary."),
            ("Tingling in the right hand", "Carpal tunnel syndrome, mild. Splint at night."),
        ),
    ),
    Specialty(
        "Psychiatry", 5, (45,), ("MD, Board Certified in Psychiatry",),
        (
            ("First conversation", "History taken. Goals agreed; weekly for now."),
            ("Follow-up", "Sleeps better, appetite back. Dose unchanged."),
        ),
        ages=(16, 120),
    ),
    Specialty(
        "Physiotherapy", 6, (30, 45), ("DPT, Orthopedic Clinical Specialist", "DPT"),
        (
            ("Back exercises", "Exercised well; home programme extended."),
            ("Rehabilitation after knee surgery", "Flexion 110 degrees, walks without crutches."),
        ),
        ages=(12, 120), group=(45, 6),
    ),
    Specialty(
        "Vaccination and Travel Medicine", 4, (15, 20), ("MD, Certificate in Travel Health", "MD, MPH, DTM&H"),
        (
            ("Influenza vaccination", "Given in the left upper arm, tolerated well."),
            ("Tetanus booster", "Given. Next in ten years."),
            ("Advice before a journey to Kenya", "Yellow fever given; malaria prophylaxis prescribed."),
        ),
        ages=(2, 120), group=(30, 12),
    ),
    Specialty(
        "Dentistry", 5, (30, 45), ("DDS", "DMD"),
        (
            ("Check-up and cleaning", "No caries. Cleaning done, floss daily."),
            ("Tooth ache, lower left", "Filling renewed under local anesthesia."),
        ),
        ages=(3, 120),
    ),
    Specialty(
        "Gastroenterology", 3, (30,), ("MD, Board Certified in Gastroenterology",),
        (
            ("Heartburn", "Reflux. Eight weeks of pantoprazole, then without."),
            ("Talk before a colonoscopy", "Procedure and preparation explained, consent signed."),
        ),
    ),
    Specialty(
        "Endocrinology", 3, (30,), ("MD, Board Certified in Endocrinology, Diabetes and Metabolism",),
        (
            ("Thyroid control", "TSH in range. " + _STABLE),
            ("Insulin pump adjustment", "Basal rate lowered at night; data again in two weeks."),
        ),
    ),
    Specialty(
        "Urology", 3, (20, 30), ("MD, Board Certified in Urology",),
        (
            ("Kidney stone", "Passed. Drink two litres a day; ultrasound in three months."),
            ("Prostate check-up", "Examination unremarkable, PSA taken."),
        ),
        ages=(30, 120), sex=Sex.MALE,
    ),
    Specialty(
        "Pulmonology", 3, (30, 45), ("MD, Board Certified in Pulmonary Disease",),
        (
            ("Asthma control", "FEV1 88 %. Inhaler technique corrected."),
            ("Cough that does not end", "Spirometry normal; chest X-ray ordered."),
        ),
        ages=(10, 120),
    ),
    Specialty(
        "Rheumatology", 2, (30, 45), ("MD, Board Certified in Rheumatology",),
        (
            ("Swollen finger joints", "Antibodies taken; prednisone for two weeks."),
            ("Control under methotrexate", "Liver values normal. " + _STABLE),
        ),
    ),
    Specialty(
        "Nutrition", 2, (30,), ("MD, Physician Nutrition Specialist", "RDN, MS"),
        (
            ("Advice on weight", "Plan for four weeks made; small steps, weighing once a week."),
            ("Course: eating well with diabetes", "Took part, asked for recipes."),
        ),
        ages=(12, 120), group=(45, 8),
    ),
)  # fmt: skip

# Per mille of the population of the United States.
BLOOD_GROUPS = {"O+": 374, "A+": 357, "B+": 85, "O-": 66, "A-": 63, "AB+": 34, "B-": 15, "AB-": 6}
# Age from, below, and the share of the patients in percent.
AGES = ((0, 6, 9), (6, 18, 12), (18, 40, 27), (40, 65, 29), (65, 80, 16), (80, 96, 7))
ALLERGIES = (
    "Penicillin: rash", "Peanuts: anaphylaxis, carries an auto-injector", "Latex", "Birch and hazel pollen",
    "Sulfonamides", "House dust mites", "Bee stings", "Iodinated contrast medium", "None known",
)  # fmt: skip
REASONS_TO_CANCEL = (
    "Feels better", "Cannot get off work", "Travelling that day", "No child care", "Found an earlier appointment",
    "Doctor is ill", "Car broke down", "Wants to change to another day",
)  # fmt: skip
